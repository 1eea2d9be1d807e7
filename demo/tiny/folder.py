"""How a tiny checkpoint folder is written.

The seeded random weights, the index file, the model card.

Knows the diffusers layout (`model_index.json`, one subfolder per component); knows no model.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

CARD = """\
---
license: apache-2.0
---
# {title} (tiny)

The real classes of {title} at a toy size, with seeded random weights and the real file layout: good for running every
line of the services without a GPU or a download. A language model, where there is one, is the demo's trained one
(`demo/models`). The pictures that come out are noise, not art.

Written by `python -m demo.tiny` with seed {seed}.
"""


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside the block torch's CPU random state starts from `seed`.

    Afterwards it is what it was before.
    """
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def write_index(folder: Path, pipeline: str, components: Mapping[str, tuple[str, str]]) -> None:
    """Write `model_index.json`.

    The pipeline's class and, per component, the library and class that load it.
    """
    index = {"_class_name": pipeline, "_diffusers_version": "0.42.1", **{k: list(v) for k, v in components.items()}}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def write_card(folder: Path, title: str, seed: int) -> None:
    """Write the model card that says what these weights are not."""
    (folder / "README.md").write_text(CARD.format(title=title, seed=seed))
