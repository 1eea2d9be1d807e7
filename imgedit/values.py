"""Frozen values for edits: mask options, margins, and the response's contents.

Frozen. Their fields have the names of the API. Types and choices are judged here; the server judges the ranges and
answers with the field at fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from imgedit.arguments import flag, needed_text, number, text, whole
from imgedit.keywords import refusing_unknown_fields
from imgedit.v1 import edit_pb2, lora_pb2

Profile = Literal["fast", "balanced", "high"]
Background = Literal["whole", "keep", "remove", "transparent"]
Subject = Literal["subject", "background"]
Format = Literal["png", "jpeg", "webp"]
Omit = Literal["cutout", "mask"]


@refusing_unknown_fields
@dataclass(frozen=True, kw_only=True)
class Mask:
    """Mask options, applied in the order of the fields.

    subject: "subject" or "background": which part of BEN2's mask to repaint; not with your own mask.
    invert: swap white and black.
    threshold: the level between 0 and 1 that becomes one half; lower takes more in. fill_holes: fill black holes that
    white encloses. grow_px, feather_px: pixels, 0 to 256, to grow the mask by and to soften its edge over, inward.
    """

    subject: Subject | None = None
    invert: bool = False
    threshold: float | None = None
    fill_holes: bool = False
    grow_px: int | None = None
    feather_px: int | None = None

    def __post_init__(self) -> None:
        check_choice("Mask.subject", self.subject, Subject)
        flag("Mask.invert", self.invert)
        number("Mask.threshold", self.threshold, "above 0.0 and below 1.0")
        flag("Mask.fill_holes", self.fill_holes)
        whole("Mask.grow_px", self.grow_px, "0 to 256")
        whole("Mask.feather_px", self.feather_px, "0 to 256")

    @property
    def message(self) -> edit_pb2.MaskOptions:
        """As it is sent."""
        return edit_pb2.MaskOptions(
            subject=label("MASK_SUBJECT", self.subject),
            invert=self.invert,
            threshold=self.threshold,
            fill_holes=self.fill_holes,
            grow_px=self.grow_px,
            feather_px=self.feather_px,
        )


@refusing_unknown_fields
@dataclass(frozen=True, kw_only=True)
class Outpaint:
    """Margins to add, in pixels, 0 to 4096 each.

    Or an aspect such as "16:9", split evenly.
    """

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0
    aspect: str | None = None

    def __post_init__(self) -> None:
        for side in ("left", "right", "top", "bottom"):
            whole(f"Outpaint.{side}", getattr(self, side), "0 to 4096")
        text("Outpaint.aspect", self.aspect, 'a str such as "16:9"')

    @property
    def message(self) -> edit_pb2.Outpaint:
        """As it is sent."""
        return edit_pb2.Outpaint(left=self.left, right=self.right, top=self.top, bottom=self.bottom, aspect=self.aspect)


@refusing_unknown_fields
@dataclass(frozen=True)
class Lora:
    """A LoRA of the server by its name, and its strength, -4.0 to 4.0.

    `experiments()` lists the names with each feature.
    """

    name: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        needed_text("Lora.name", self.name, "a str, a LoRA of experiments()")
        if number("Lora.scale", self.scale, "-4.0 to 4.0") is None:
            raise TypeError("Lora.scale must be a number, -4.0 to 4.0, is None")

    @property
    def message(self) -> lora_pb2.LoraUse:
        """As it is sent."""
        return lora_pb2.LoraUse(name=self.name, scale=self.scale)


@refusing_unknown_fields
@dataclass(frozen=True, kw_only=True)
class Output:
    """Contents of the response.

    format: "png", "jpeg" or "webp", of the result.
    quality: 1 to 100, of JPEG (95 unless given) and WebP (lossless unless given).
    omit: pictures to leave out of the answer, which saves their encoding: a list or tuple of "cutout" and "mask". It
    is kept as a tuple.
    """

    format: Format = "png"
    quality: int | None = None
    omit: Sequence[Omit] = ()

    def __post_init__(self) -> None:
        check_choice("Output.format", self.format, Format)
        whole("Output.quality", self.quality, "1 to 100")
        object.__setattr__(self, "omit", _omitted(self.omit))

    @property
    def message(self) -> edit_pb2.OutputOptions:
        """As it is sent."""
        return edit_pb2.OutputOptions(
            format=label("OUTPUT_FORMAT", self.format),
            quality=self.quality,
            omit=[label("OUTPUT_OMIT", what) or "" for what in self.omit],
        )


def _omitted(given: Any) -> tuple[Omit, ...]:
    wanted = f"Output.omit must be a list or tuple of {_listed(Omit)}, is {given!r}"
    if isinstance(given, str):
        raise ValueError(wanted)
    if given is not None and not hasattr(given, "__iter__"):
        raise TypeError(wanted)
    omitted = tuple(given or ())
    for what in omitted:
        if what is None:
            raise ValueError(wanted)
        check_choice("Output.omit", what, Omit)
    return omitted


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise ValueError with the choices for any other value but None."""
    if value is not None and not (isinstance(value, str) and value in get_args(choices)):
        raise ValueError(f"{name} must be one of {_listed(choices)}, is {value!r}")


def label(prefix: str, name: str | None) -> str | None:
    """The name of an enum's value on the wire."""
    return None if name is None else f"{prefix}_{name.upper()}"


def _listed(choices: Any) -> str:
    return ", ".join(map(repr, get_args(choices)))
