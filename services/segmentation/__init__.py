"""The segmentation service: BEN2 finds an image's subject.

It knows no experiment and no diffusion.
"""
