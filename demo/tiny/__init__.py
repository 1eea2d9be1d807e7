"""Tiny checkpoints of the three models: real classes, seeded weights.

Nothing is trained here.
"""
