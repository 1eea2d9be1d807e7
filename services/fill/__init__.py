"""The fill service: FLUX.1-Fill repaints the masked part of an image."""
