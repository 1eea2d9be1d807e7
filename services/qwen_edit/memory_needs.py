"""Print the memory needs: `python -m services.qwen_edit.memory_needs`."""

import sys

from services.diffusion import memory_needs
from services.diffusion.activations import Activations
from services.diffusion.memory_needs import Model, Part
from services.qwen_edit.settings import QwenEditSettings

ACTIVATIONS = Activations(decode=1_350, step=375)
"""Of the published sizes; a job looks at its answer, the first picture, of the same size, and the references."""

MAX_IMAGES = 3
"""Of a job: the picture and two references."""

TEXT_TOKENS = 1_024
"""Of a usual prompt, the pictures that the text encoder sees among them."""

MODEL = Model(
    parts=(
        Part("text_encoder", by_setting=True, tables=("embed_tokens", "lm_head")),
        Part("vae"),
        Part("transformer"),
    ),
    activations=ACTIVATIONS,
    text=TEXT_TOKENS,
    pictures=lambda settings: 2 * settings.max_pixels + (MAX_IMAGES - 1) * settings.reference_pixels,
)

if __name__ == "__main__":
    sys.exit(memory_needs.main(MODEL, QwenEditSettings))
