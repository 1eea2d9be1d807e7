"""Says what is in a picture of the demo's world.

The place, things beside the person, what is held, glasses.

Small classifiers, trained on the world's training seeds (`python -m demo.judge`), and `measures`, which compare pixels
with a scene drawn anew. They measure the demo's checkpoints and are no product: production never imports this, and they
know nothing but this world.
"""

from demo.judge.judge import WEIGHTS, Judge, place_of

__all__ = ["WEIGHTS", "Judge", "place_of"]
