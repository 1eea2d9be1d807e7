"""The one line about a weights file whose entries are not those of its network. Knows no format and no library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from imgedit.errors import ModelLoadError

SHOWN = 3
"""Entries of each kind of fault that a message names."""


def refuse_unfit(path: Path, network: str, found: Mapping[str, Sequence[str]]) -> None:
    """`ModelLoadError` about the entries at fault, by kind of fault; nothing is done where there are none."""
    listed = [f"{len(entries)} {kind} ({shortened(entries)})" for kind, entries in found.items() if entries]
    if listed:
        raise ModelLoadError(f"{path}: not the weights of {network}: {'; '.join(listed)}")


def shortened(entries: Sequence[str]) -> str:
    """The first few of the entries."""
    return ", ".join(entries[:SHOWN]) + (", …" if len(entries) > SHOWN else "")
