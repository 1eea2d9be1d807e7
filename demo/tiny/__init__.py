"""Tiny checkpoints of the three models: real classes and layouts, seeded weights. Trains nothing."""
