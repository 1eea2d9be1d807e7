"""Training the demo's Qwen-Image-Edit.

Its VAE, language model, transformer and few-step LoRA.
"""
