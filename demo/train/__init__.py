"""Trains the demo's checkpoints on the demo world: real classes and layouts, small, within minutes on a processor.

Nothing that serves imports it.
"""
