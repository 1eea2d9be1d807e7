"""Warnings for a caller, in both languages.

On the wire the English ones are `warnings` and the Korean ones `korean_warnings`, in the same order.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import NamedTuple, Protocol


class Remark(NamedTuple):
    """A warning about an edit.

    Says what is otherwise than requested, and what to do. The English text begins with the field's name.
    """

    english: str
    korean: str


Remarks = tuple[Remark, ...]


class HasWarnings(Protocol):
    """A message with both lists."""

    @property
    def warnings(self) -> MutableSequence[str]:
        """In English."""

    @property
    def korean_warnings(self) -> MutableSequence[str]:
        """In Korean."""


def english(remarks: Sequence[Remark]) -> list[str]:
    """The value of `warnings`."""
    return [remark.english for remark in remarks]


def korean(remarks: Sequence[Remark]) -> list[str]:
    """The value of `korean_warnings`."""
    return [remark.korean for remark in remarks]


def add_remark(message: HasWarnings, remark: Remark) -> None:
    """Append a warning to both lists."""
    message.warnings.append(remark.english)
    message.korean_warnings.append(remark.korean)


def read_remarks(message: HasWarnings) -> Remarks:
    """The warnings of a message.

    A server of an earlier release sends no Korean: then the English stands for it.
    """
    both = message.korean_warnings if len(message.korean_warnings) == len(message.warnings) else message.warnings
    return tuple(Remark(*pair) for pair in zip(message.warnings, both, strict=True))
