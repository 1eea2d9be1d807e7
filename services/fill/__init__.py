"""The fill service: FLUX.1-Fill repaints the masked part of an image.

It knows no experiment and no other model.
"""
