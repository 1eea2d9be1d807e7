"""The requests of the mixed load: good ones, and bad ones with their reasons."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from imgedit.v1 import edit_pb2

SIDES = (192, 320, 512, 1024, 1600)
FORMATS = ("PNG", "JPEG", "WEBP")
STEPS = (10, 16)
TRANSPARENT = (edit_pb2.OUTPUT_FORMAT_UNSPECIFIED, edit_pb2.OUTPUT_FORMAT_PNG, edit_pb2.OUTPUT_FORMAT_WEBP)
"""Formats of a cut-out, which JPEG cannot be."""
OUTPUTS = (*TRANSPARENT, edit_pb2.OUTPUT_FORMAT_JPEG)
PROMPTS: Mapping[str, tuple[str, ...]] = {
    "ben2_flux_fill/inpainting": ("a bright modern gym", "a beach"),
    "ben2_flux_fill/outpainting": ("a wide gym on all sides",),
    "ben2_qwen_image/appearance_editing": ("change the top from blue to red",),
    "ben2_qwen_image/semantic_editing": ("remove the glasses",),
    "ben2/background_removal": ("",),
}
"""Prompts by experiment and feature."""


@dataclass(frozen=True)
class Bad:
    """A fault that a request is given, and the reasons with which it may be refused."""

    spoil: Callable[[edit_pb2.EditRequest], None]
    reasons: frozenset[str]


def pictures(samples: Path) -> list[bytes]:
    """Every sample in every size, in turn as PNG, JPEG and WebP."""
    found = []
    for number, path in enumerate(sorted(samples.iterdir())):
        with Image.open(path) as image:
            whole = image.convert("RGB")
        for place, side in enumerate(SIDES):
            file = io.BytesIO()
            size = (side, max(64, side * whole.height // whole.width))
            whole.resize(size).save(file, FORMATS[(number + place) % len(FORMATS)])
            found.append(file.getvalue())
    return found


def good(found: list[bytes], dice: random.Random) -> edit_pb2.EditRequest:
    """An edit that is right, unlike all others by its id and seed."""
    place = dice.choice(list(PROMPTS))
    experiment, _, feature = place.partition("/")
    request = edit_pb2.EditRequest(
        experiment_id=experiment,
        feature_id=feature,
        input_image=dice.choice(found),
        request_id=f"soak-{dice.getrandbits(64):016x}",
        output=edit_pb2.OutputOptions(format=dice.choice(OUTPUTS if experiment != "ben2" else TRANSPARENT)),
    )
    if experiment != "ben2":
        request.prompt = dice.choice(PROMPTS[place])
        request.steps = dice.randint(*STEPS)
        request.seed = dice.getrandbits(32)
        request.strength = dice.choice((0.4, 0.8, 1.0))
    if feature == "outpainting":
        request.outpaint.left = dice.choice((16, 64))
    return request


def painting(found: list[bytes], dice: random.Random) -> edit_pb2.EditRequest:
    """A good edit that runs denoise steps, so that it can be left in the middle."""
    while not (request := good(found, dice)).steps:
        pass
    return request


def _header(width: int, height: int) -> bytes:
    """A PNG that declares a size and has no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def _set(**fields: object) -> Callable[[edit_pb2.EditRequest], None]:
    def spoil(request: edit_pb2.EditRequest) -> None:
        for name, value in fields.items():
            setattr(request, name, value)

    return spoil


def _cut(request: edit_pb2.EditRequest) -> None:
    request.input_image = request.input_image[: len(request.input_image) // 3]


FIELD = frozenset({"INVALID_FIELD"})
IMAGE = frozenset({"IMAGE_REJECTED"})
PROMPT = frozenset({"PROMPT_REJECTED"})

BAD: Mapping[str, Bad] = {
    "too few steps": Bad(_set(steps=9), FIELD),
    "too many steps": Bad(_set(steps=100_000), FIELD),
    "guidance not a number": Bad(_set(guidance_scale=float("nan")), FIELD),
    "strength above 1": Bad(_set(strength=1.5), FIELD),
    "unknown experiment": Bad(_set(experiment_id="nothing"), frozenset({"EXPERIMENT_NOT_FOUND"})),
    "unknown feature": Bad(_set(feature_id="nothing"), frozenset({"FEATURE_NOT_FOUND"})),
    "no prompt": Bad(_set(prompt=""), PROMPT),
    "prompt too long": Bad(_set(prompt="a" * 2001), PROMPT),
    "not a picture": Bad(_set(input_image=b"not a picture"), IMAGE),
    "no picture": Bad(_set(input_image=b""), IMAGE | FIELD),
    "half a picture": Bad(_cut, IMAGE),
    "huge picture": Bad(_set(input_image=_header(60_000, 60_000)), IMAGE),
    "mask not a picture": Bad(_set(mask_image=b"not a picture"), IMAGE | FIELD),
}


def bad(found: list[bytes], dice: random.Random) -> tuple[str, edit_pb2.EditRequest, frozenset[str]]:
    """The fault's name, a request with it, and its reasons."""
    name = dice.choice(list(BAD))
    request = painting(found, dice)
    BAD[name].spoil(request)
    return name, request, BAD[name].reasons
