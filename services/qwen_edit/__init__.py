"""The qwen_edit service: Qwen-Image-Edit-2509 edits an image by instruction.

Qwen2.5-VL rewrites prompts here too. The service knows no experiment and no other model.
"""
