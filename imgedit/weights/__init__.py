"""Checkpoints on disk: the registry of models, downloads, the headers of weight files. Needs no torch."""
