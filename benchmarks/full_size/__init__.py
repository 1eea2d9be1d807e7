"""Diffusion models of the published size, with made-up weights."""
