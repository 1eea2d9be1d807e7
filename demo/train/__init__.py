"""Trains the demo's checkpoints on the demo world.

Real classes and layouts, small, within minutes on a processor.
"""
