"""Training of the demo's FLUX.1-Fill: VAE, transformer, text encoders, LoRA.

Only `demo.train.__main__`, tests and `demo.train.qwen_edit` import it, whose VAE is trained alike.
"""
