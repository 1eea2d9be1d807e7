"""The segmentation service: BEN2 finds the subject of a picture. Knows no experiment and no diffusion."""
