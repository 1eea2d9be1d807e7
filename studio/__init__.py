"""The page "이미지 편집 실험": a Streamlit application over the public API.

Imports only `imgedit`, and no torch.
"""
