"""Diffusion models of the published size, with made-up weights.

Nothing outside `benchmarks` and its tests imports this package, and no quality of images is judged here.
"""
