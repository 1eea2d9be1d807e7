"""The one-line message about a weights file that does not fit its network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from imgedit.errors import ModelLoadError

SHOWN = 3
"""Entries of each kind of fault that a message names."""


def refuse_unfit(path: Path, network: str, found: Mapping[str, Sequence[str]]) -> None:
    """Raise `ModelLoadError` about the invalid entries, by kind of fault.

    Without entries it does nothing.
    """
    listed = [f"{len(entries)} {kind} ({shortened(entries)})" for kind, entries in found.items() if entries]
    if listed:
        raise ModelLoadError(f"{path}: not the weights of {network}: {'; '.join(listed)}")


def shortened(entries: Sequence[str]) -> str:
    """The first few entries as text."""
    return ", ".join(entries[:SHOWN]) + (", …" if len(entries) > SHOWN else "")
