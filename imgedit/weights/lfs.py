"""Git LFS pointers: text files in place of large ones, after a clone without LFS."""

from __future__ import annotations

from pathlib import Path

from imgedit.errors import ModelLoadError

BEGINNING = b"version https://git-lfs"


def refuse_pointer(path: Path) -> None:
    """Raise `ModelLoadError` if the file is a pointer.

    Raises `OSError` if it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(BEGINNING)) == BEGINNING:
            raise ModelLoadError(f"{path}: a Git LFS pointer, not the file itself; run `git lfs pull` in its folder")
