"""Classifiers for images of the demo's world: place, objects, hands, glasses.

Small networks, trained on the world's training seeds (`python -m demo.judge`), and `measures`, which compare pixels
with a redrawn scene. They measure the demo checkpoints only.
"""

from demo.judge.judge import WEIGHTS, Judge, place_of

__all__ = ["WEIGHTS", "Judge", "place_of"]
