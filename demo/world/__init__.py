"""The demo's world: seeded scenes of a person in sportswear, with ground truth.

`sample` invents a scene, `render` draws it, `prompts` phrases edits in Korean and English.
"""

from demo.world.figure import face_box, hand_box, hand_boxes, holds_at_the_left, is_symmetric, text_box
from demo.world.render import Rendered, render, render_background
from demo.world.scene import (
    BACKGROUNDS,
    COLOURS,
    HAIR_STYLES,
    HAIRS,
    HANDHELD,
    HELD_OUT_SEEDS,
    HOLDABLE,
    PLAIN_COLOURS,
    POSES,
    PROPS,
    SKINS,
    TRAINING_SEEDS,
    WORDS,
    Background,
    Person,
    Prop,
    Scene,
    person_of,
    sample,
    sample_background,
    sample_person,
    sample_prop,
    with_person,
)
from demo.world.svg import RGB

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "HAIRS",
    "HAIR_STYLES",
    "HANDHELD",
    "HELD_OUT_SEEDS",
    "HOLDABLE",
    "PLAIN_COLOURS",
    "POSES",
    "PROPS",
    "RGB",
    "SKINS",
    "TRAINING_SEEDS",
    "WORDS",
    "Background",
    "Person",
    "Prop",
    "Rendered",
    "Scene",
    "face_box",
    "hand_box",
    "hand_boxes",
    "holds_at_the_left",
    "is_symmetric",
    "person_of",
    "render",
    "render_background",
    "sample",
    "sample_background",
    "sample_person",
    "sample_prop",
    "text_box",
    "with_person",
]
