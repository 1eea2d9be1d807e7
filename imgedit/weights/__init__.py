"""Checkpoints on disk: model registry, downloads, weight file headers.

Nothing here needs torch or runs a network.
"""
