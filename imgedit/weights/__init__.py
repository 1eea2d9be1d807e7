"""Checkpoints on disk: model registry, downloads, weight file headers."""
