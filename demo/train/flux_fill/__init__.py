"""Training the demo's FLUX.1-Fill: its VAE, transformer, text encoders and few-step LoRA."""
