"""The usual seconds of an edit without its painting.

Decoding, segmentation, rewriting, composite, encoding.
"""

from __future__ import annotations

from collections.abc import Hashable

NEWEST_SHARE = 0.2
MAX_KINDS = 256


class SecondsWithoutPainting:
    """Means by kind of edit and, within a factor of two, by pixels.

    Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._means: dict[Hashable, dict[int, float]] = {}

    def observe(self, kind: Hashable, pixels: int, seconds: float) -> None:
        """Learn from one finished edit."""
        means = self._means.setdefault(kind, {})
        size = pixels.bit_length()
        before = means.get(size, seconds)
        means[size] = before + NEWEST_SHARE * (seconds - before)
        if len(self._means) > MAX_KINDS:
            del self._means[next(iter(self._means))]

    def usual(self, kind: Hashable, pixels: int) -> float | None:
        """The mean of the nearest known size; None before the first edit of this kind."""
        means = self._means.get(kind)
        if not means:
            return None
        return means[min(means, key=lambda size: abs(size - pixels.bit_length()))]
