"""The sizes at which a diffusion service runs its model before it serves."""

from __future__ import annotations

import re

from imgedit.errors import SettingsError
from services.common.settings import DiffusionSettings

MULTIPLE = 16
"""A work area's sides are multiples of it."""

LEAST = 16

Size = tuple[int, int]
"""Width and height in pixels."""


def read_warm_sizes(settings: DiffusionSettings) -> tuple[Size, ...]:
    """The sizes of the setting, each once.

    Raises `SettingsError` that names the setting, the size and the range.
    """
    texts = [text.strip() for text in settings.warm_sizes.split(",")] if settings.warm_sizes.strip() else []
    return tuple(dict.fromkeys(_size(text, settings) for text in texts))


def _size(text: str, settings: DiffusionSettings) -> Size:
    name = settings.variable("warm_sizes")
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if match is None:
        raise SettingsError(f"{name}: {text[:40]!r} must be WIDTHxHEIGHT, for instance 1024x1024")
    width, height = int(match[1]), int(match[2])
    if width % MULTIPLE or height % MULTIPLE or min(width, height) < LEAST:
        raise SettingsError(f"{name}: the sides of {text} must be multiples of {MULTIPLE} from {LEAST} px")
    if width * height > settings.max_pixels:
        raise SettingsError(
            f"{name}: {text} has {width * height:,} pixels, and {settings.variable('max_pixels')} allows "
            f"{settings.max_pixels:,}"
        )
    return width, height
