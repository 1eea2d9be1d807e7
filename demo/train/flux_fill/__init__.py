"""Training the demo's FLUX.1-Fill: its VAE, transformer, text encoders and few-step LoRA. Only tests and
`demo.train.__main__` import it, and `demo.train.qwen_edit`, whose VAE is trained alike.
"""
