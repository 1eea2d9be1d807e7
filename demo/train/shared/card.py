"""The card of the demo's FLUX.1-Fill, written from what its training runs noted.

Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.train.shared.run_folder import notes_of

CARD = """\
---
license: apache-2.0
---
# FLUX.1-Fill, the demo's own

The real classes of FLUX.1-Fill-dev in the diffusers layout, small, trained from random weights on the demo world alone:
drawn scenes with a person in sportswear (`demo/world`). No weights, pictures or texts of anyone else went into it.

## What it can do, and what not

It paints a gym, a park, a beach, a city at night, a brick wall, snowy mountains, a running track or one plain colour
behind a person of this world, and goes on with a picture at its sides, with a thing there where one is asked for:
exercise equipment, a tree, a bench, an exercise ball, a street lamp or a parasol. Of each thing it was taught one look,
in the middle of the new strip. It has not learnt to go on with every plain colour. **It knows nothing else.** Of a
photograph it repaints the masked part in this world's style, and a request for something that is not listed here gives
something that is. It reads English only. Use it to see the services work without a GPU and to test what an edit means;
for real photographs pull the real weights (`imgedit models pull`).

It is best at about 256 x 256 pixels, the size that it was taught at.

## How it was trained

On two processor cores that were shared with other work, from the generator's training seeds; measures are on held-out
seeds. The English prompts are those of `demo/world/prompts.py` without the combinations that are held out.

{runs}

The loss of the VAE is that of `demo/train/flux_fill/vae.py` (absolute differences of pixels, edges and coarser
pictures, and a small divergence); that of the transformer is the mean squared error of the velocity; that of the fast
LoRA the mean squared distance between its one step and the teacher's several.

Train it again with `python -m demo.train vae`, then `flux_fill`, then `fast`. Weights are stored as bfloat16.
"""  # prose: off

TITLES = {"vae": "VAE", "transformer": "Transformer and text encoders", "fast": "LoRA of the profile `fast`"}


def write_fill_card(folder: Path) -> None:
    """Write `README.md` from the notes in the folder."""
    (folder / "README.md").write_text(CARD.format(runs=runs_of(TITLES, notes_of(folder))))


def runs_of(titles: Mapping[str, str], notes: Mapping[str, dict[str, Any]]) -> str:
    """A table for each run that was noted, under its title."""
    return "\n".join(_lines(title, notes[part]) for part, title in titles.items() if part in notes).strip()


def _lines(title: str, noted: dict[str, Any]) -> str:
    rows = "\n".join(f"| {fact.replace('_', ' ')} | {value} |" for fact, value in noted.items())
    return f"### {title}\n\n| | |\n| --- | --- |\n{rows}\n"
