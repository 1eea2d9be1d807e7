"""Result files: checked before the work, written atomically, and never lost."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path


def check_output(path: Path) -> None:
    """Raise OSError unless a file of this name can be written.

    Tests a write in the nearest existing folder.
    """
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(path.stat().st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def numbered(path: Path, n: int) -> list[Path]:
    """The files of n results: the first is `path`, the second NAME-2, and so on."""
    return [path, *(path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(2, n + 1))]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A short temporary name: the final one may be as long as the system allows.
    descriptor, name = tempfile.mkstemp(prefix=".imgedit-", suffix=".part", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_or_keep(path: Path, data: bytes) -> None:
    """Write a result.

    If that fails it goes to another folder, which the OSError names.
    """
    try:
        write_whole(path, data)
    except OSError as error:
        place = _kept(data, path.suffix)
        reason = f"{error.strerror or error}; the result is kept in {place}" if place else error.strerror
        raise OSError(error.errno, reason, str(path)) from error


def _kept(data: bytes, ending: str) -> Path | None:
    for folder in (tempfile.gettempdir(), Path.cwd(), Path.home()):
        with contextlib.suppress(OSError):
            descriptor, name = tempfile.mkstemp(prefix="imgedit-", suffix=ending, dir=folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            return Path(name)
    return None


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
