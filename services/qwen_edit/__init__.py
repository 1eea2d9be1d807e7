"""The qwen_edit service: Qwen-Image-Edit-2509 edits an image by instruction."""
