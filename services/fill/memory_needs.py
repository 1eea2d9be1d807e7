"""Print the memory needs: `python -m services.fill.memory_needs`."""

import sys

from services.diffusion import memory_needs
from services.diffusion.activations import Activations
from services.diffusion.memory_needs import Model, Part
from services.fill.settings import FillSettings

ACTIVATIONS = Activations(decode=1_540, step=475)
"""Of the published sizes; a job looks at its answer alone, whose channels hold the masked picture as well."""

TEXT_TOKENS = 512
"""The most T5 tokens of a prompt, as `FluxFillPipeline` has it; fewer where the checkpoint's tokenizer says so."""

MODEL = Model(
    parts=(
        Part("vae"),
        Part("text_encoder", ignored=("vision_model.", "visual_projection.", "text_projection.", "logit_scale")),
        Part(
            "text_encoder_2",
            by_setting=True,
            ignored=("decoder.", "lm_head."),
            tables=("shared", "embed_tokens", "attention_bias"),
        ),
        Part("transformer"),
    ),
    activations=ACTIVATIONS,
    text=TEXT_TOKENS,
    pictures=lambda settings: settings.max_pixels,
)

if __name__ == "__main__":
    sys.exit(memory_needs.main(MODEL, FillSettings))
