"""The folders of checkpoints and encoded examples, run options, and card notes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from demo.train.shared import distributed
from demo.train.shared.loop import Budget, Report, console

FILL = "FLUX.1-Fill-dev"
QWEN = "Qwen-Image-Edit-2509"
NOTES = "training.json"


@dataclass(frozen=True)
class Options:
    """The options of a run.

    out: folder of the model folders; scratch: states and sheets; seed: of everything.
    """

    out: Path
    scratch: Path
    seed: int
    budget: Budget
    resume: bool


def encoded_once(folder: Path, name: str, encode: Callable[[], Iterable[Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """The examples of one kind, one after another in each tensor.

    Encoded where `folder` does not have them yet.
    """
    path = folder / f"{name.replace(' ', '-')}.safetensors"
    if not path.is_file() and distributed.is_first():
        seen = list(encode())
        console.print(f"encoded: {name}")
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: torch.stack([one[key] for one in seen]) for key in seen[0]}, path)
    distributed.wait()
    training_data: dict[str, Tensor] = load_file(path)
    return training_data


def note_run(folder: Path, part: str, report: Report, **facts: Any) -> None:
    """Record in the model's folder how a part was trained and measured."""
    noted = {"steps": report.steps, "minutes": round(report.seconds / 60, 1), "loss": round(report.loss, 4), **facts}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NOTES).write_text(json.dumps({**notes_of(folder), part: noted}, indent=2) + "\n")


def notes_of(folder: Path) -> dict[str, Any]:
    """The recorded notes, by part."""
    path = folder / NOTES
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found
