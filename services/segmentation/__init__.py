"""The segmentation service: BEN2 finds the subject of an image."""
