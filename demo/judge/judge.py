"""The trained classifiers with names for their answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from demo.judge.network import Classifier, as_seen
from demo.world import BACKGROUNDS, HOLDABLE, PLAIN_COLOURS, PROPS, Background, Person, face_box, hand_boxes
from demo.world.figure import Box

WEIGHTS = Path(__file__).with_name("judge.safetensors")

PLACES = (*(kind for kind in BACKGROUNDS if kind != "plain"), *(f"plain {colour}" for colour in PLAIN_COLOURS))
ANSWERS = {"scene": len(PLACES), "region": len(PROPS), "hand": len(HOLDABLE), "face": 1}
"""The classifiers, and how many answers each has."""


def place_of(background: Background) -> str:
    """The answer that is right for this background."""
    return f"plain {background.colour}" if background.kind == "plain" else background.kind


class Judge:
    """Judges pictures, (H, W, 3) uint8 arrays of any size."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        tensors = {name: value.float() for name, value in load_file(weights).items()}
        self._networks = {name: _loaded(tensors, f"{name}.", answers) for name, answers in ANSWERS.items()}

    def places(self, pictures: Sequence[np.ndarray]) -> list[str]:
        """Where each picture is: a kind of background, or "plain" with its colour."""
        return [PLACES[int(best)] for best in self._scores("scene", pictures).argmax(1)]

    def held(self, pictures: Sequence[np.ndarray], people: Sequence[Person]) -> list[str]:
        """The object in either hand of each person, the more certain answer first.

        people: scenes with the person's pose.
        """
        both = [
            cut(picture, box)
            for picture, person in zip(pictures, people, strict=True)
            for box in hand_boxes(person, *_size(picture))
        ]
        scores = self._scores("hand", both).log_softmax(1).reshape(-1, 2, len(HOLDABLE))
        emptiness = scores[:, :, HOLDABLE.index("nothing")]
        fuller = emptiness.argmin(1)
        return [HOLDABLE[int(hand[which].argmax())] for hand, which in zip(scores, fuller, strict=True)]

    def glasses(self, pictures: Sequence[np.ndarray], people: Sequence[Person]) -> list[bool]:
        """Whether the person of each picture wears glasses; `people` say where they are."""
        faces = [
            cut(picture, face_box(person, *_size(picture))) for picture, person in zip(pictures, people, strict=True)
        ]
        return [bool(score > 0) for score in self._scores("face", faces)[:, 0]]

    def props(self, regions: Sequence[np.ndarray]) -> list[frozenset[str]]:
        """The objects in each region, a part of an image at full height."""
        return [
            frozenset(kind for kind, score in zip(PROPS, scores, strict=True) if score > 0)
            for scores in self._scores("region", regions)
        ]

    @torch.inference_mode()
    def _scores(self, name: str, pictures: Sequence[np.ndarray]) -> Tensor:
        seen = [as_seen(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255) for picture in pictures]
        return torch.cat([self._networks[name](batch) for batch in torch.split(torch.cat(seen), 32)])


def _loaded(tensors: dict[str, Tensor], prefix: str, answers: int) -> Classifier:
    network = Classifier(answers)
    network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return network.eval()


def cut(picture: np.ndarray, box: Box) -> np.ndarray:
    """The content of the box, with edge pixels repeated beyond the border."""
    left, top, right, bottom = box
    height, width = picture.shape[:2]
    rows = np.arange(top, bottom).clip(0, height - 1)
    columns = np.arange(left, right).clip(0, width - 1)
    shown: np.ndarray = picture[rows][:, columns]
    return shown


def _size(picture: np.ndarray) -> tuple[int, int]:
    return picture.shape[1], picture.shape[0]
