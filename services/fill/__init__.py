"""The fill service: FLUX.1-Fill repaints the masked part of a picture. Knows no experiment and no other model."""
