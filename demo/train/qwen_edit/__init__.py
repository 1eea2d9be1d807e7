"""Training the demo's Qwen-Image-Edit: its VAE, language model, transformer and few-step LoRA.

Only tests and `demo.train.__main__` import it.
"""
