"""The qwen_edit service: Qwen-Image-Edit-2509 edits a picture by instruction, and Qwen2.5-VL rewrites prompts.

Knows no experiment and no other model.
"""
