"""Training of the demo's Qwen-Image-Edit: VAE, language model, transformer, LoRA.

Only `demo.train.__main__` and tests import it.
"""
