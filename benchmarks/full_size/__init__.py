"""Diffusion models of the published size, with made-up weights.

They measure time and memory, never quality.
"""
