"""The shared part of the weight converters: arguments, result, atomic output.

A converter is a subprocess, `python -m services.<x>.convert SOURCE TARGET`, started by `imgedit models convert`. Its
standard output is one JSON object: the written files, or the error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from imgedit.errors import ModelLoadError

HEADROOM = 64 * 1024 * 1024
"""Bytes of the disk that are left free."""


@dataclass(frozen=True)
class Order:
    """The arguments of a conversion.

    config: folder with the network's `config.json`. type: number format of the result.
    """

    source: Path
    target: Path
    type: str
    config: Path | None
    sha256: str | None


Advance = Callable[[int], None]
Begin = Callable[[int], Advance]
"""Called with the number of bytes before writing; returns the callback for written bytes."""

Convert = Callable[[Order, Path, Begin], Path]
"""Writes the files into the folder that it is handed; returns the folder where they belong."""


def run(convert: Convert, types: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Run the conversion from the command line.

    The exit status is 0 when the files are in place.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--type", choices=types, default=types[0])
    parser.add_argument("--config", type=Path)
    parser.add_argument("--sha256", help="digest that the source must have")
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args(arguments)
    order = Order(options.source, options.target, options.type, options.config, options.sha256)
    try:
        print(json.dumps(converted(convert, order, quiet=options.quiet)))
    except ModelLoadError as error:
        print(json.dumps({"error": error.message}))
        return 1
    except OSError as error:
        print(json.dumps({"error": f"{error.filename or order.target}: {error.strerror or error}"}))
        return 1
    return 0


def converted(convert: Convert, order: Order, *, quiet: bool) -> dict[str, Any]:
    """Convert, and report the read and written files with sizes and SHA-256."""
    started = time.monotonic()
    source = None if order.source.is_dir() else checked(order.source, order.sha256)
    with _scratch(order.target) as scratch, _bar(quiet) as bar:

        def begin(total: int) -> Advance:
            free = shutil.disk_usage(scratch).free
            if total + HEADROOM > free:
                raise ModelLoadError(f"{order.target}: {total} bytes are to be written, the disk has {free} free")
            task = bar.add_task(order.target.name, total=total)
            return lambda count: bar.advance(task, count)

        folder = convert(order, scratch, begin)
        files = [_placed(path, folder) for path in sorted(scratch.iterdir(), key=lambda path: path.suffix == ".json")]
    return {"source": source, "files": files, "seconds": round(time.monotonic() - started, 3)}


def checked(path: Path, sha256: str | None) -> dict[str, Any]:
    """A file as the result describes it.

    Raises `ModelLoadError` if it is missing or has another SHA-256.
    """
    if not path.is_file():
        raise ModelLoadError(f"there is no file {path}")
    found = described(path)
    if sha256 is not None and found["sha256"] != sha256.lower():
        raise ModelLoadError(f"{path}: SHA-256 is {found['sha256']}, {sha256} is expected")
    return found


def described(path: Path) -> dict[str, Any]:
    """Path, size in bytes and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "size": path.stat().st_size, "sha256": digest}


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raise `ModelLoadError` if the target exists; files are never overwritten."""
    for path in paths:
        if path.exists():
            raise ModelLoadError(f"{path} is there already; move it away, or choose another target")


def _placed(path: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    path.chmod(0o644)  # safetensors writes private files; a service often runs as another user
    described_path = described(path)
    return {**described_path, "path": str(path.replace(folder / path.name))}


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A temporary folder on the target's disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.parent / f".{target.name}.{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bar(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
        disable=quiet,
    )
