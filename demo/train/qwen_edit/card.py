"""The model card of the demo's Qwen-Image-Edit, from the notes of its training."""

from __future__ import annotations

from pathlib import Path

from demo.train.shared.card import runs_of
from demo.train.shared.run_folder import notes_of

CARD = """\
---
license: apache-2.0
---
# Qwen-Image-Edit-2509, the demo's own

The real classes of Qwen-Image-Edit-2509 in the diffusers layout, small, trained from random weights on the demo world
alone: drawn scenes with a person in sportswear (`demo/world`). No weights, pictures or texts of anyone else went into
it.

## What it can do, and what not

It edits pictures of this world as it is asked in Korean or English: another colour of the top, no glasses, another
place, another word on the shirt (GYM, FITNESS, RUN, YOGA, TEAM or SPORT; the long ones are hard to read), and the
clothes' colours and the place of a second picture. A dumbbell or a water bottle comes into an empty hand, and can be
told there in about seven pictures of eight. Where both arms do the same, it was taught the
hand at the picture's right, or the left one where that is not in the picture. Places are rough. **It knows nothing
else**: a photograph comes back in this world's style, and another request does something that is listed here, or
nothing. Use it to see the services work without a GPU and to test what an edit means; for real
photographs pull the real weights (`imgedit models pull`).

It is best at about 256 x 256 pixels, the size that it was taught at; references were 128 x 128
(`IMGEDIT_QWEN_EDIT_REFERENCE_PIXELS=16384`, which `imgedit up` sets). What it changes is measured by
`python -m benchmarks.demo_quality`; the figures are in `docs/demo.md`.

Its language model, a Qwen2.5-VL with its vision tower and a byte-level tokenizer, also serves the prompt service: it
translates the Korean of the demo world's phrases into English, writes them out, and knows the guide's own prompts. What
is quoted it copies. It knows no other Korean: a prompt with a word that it was not taught is mostly answered with
itself, and the service refuses that with the advice to write in English. Pictures do not change its answers.

## How it was trained

On two processor cores, from the generator's training seeds; measures are on held-out seeds. The prompts are those of
`demo/world/prompts.py` without the combinations that are held out.

{runs}

The loss of the language model is the cross-entropy of the answers' tokens, and what it answers is measured on held-out
phrases by greedy generation, as shares of 1. That of the VAE is the one of `demo/train/flux_fill/vae.py` (absolute
differences of pixels, edges and coarser pictures, and a small divergence); only the last slice in time of its kernels
is taught, the others are 0, so it is one for pictures and not for videos. Its decoder was then taught on, by the same
differences, to read latents that are noisy and not wholly edited, as the transformer leaves them; the encoder stayed as
it was. The loss of the transformer is the mean squared error of the velocity, in which what an edit changes weighs
more; that of the fast LoRA the mean squared distance between its one
step and the guided teacher's several.

Train it again with `python -m demo.train qwen_language`, then `qwen_vae`, `qwen_decoder`, `qwen_edit` and `qwen_fast`.
Weights are stored as bfloat16.
"""  # prose: off

TITLES = {
    "qwen_language": "Language model",
    "qwen_vae": "VAE",
    "qwen_decoder": "Decoder of the VAE, taught on",
    "qwen_edit": "Transformer",
    "qwen_fast": "LoRA of the profile `fast`",
}


def write_qwen_card(folder: Path) -> None:
    """Write `README.md` from the notes in the folder."""
    (folder / "README.md").write_text(CARD.format(runs=runs_of(TITLES, notes_of(folder))))
