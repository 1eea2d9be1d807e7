"""Training the demo's FLUX.1-Fill.

Its VAE, transformer, text encoders and few-step LoRA.
"""
