"""Writes tiny checkpoints of all three models.

`python -m demo.tiny --out DIR [--seed N]`.

Real classes, real file layouts, seeded weights, no network; some seconds and a few megabytes. A checkpoint that is
already there and current is left alone. Knows where the folders go and when they are stale; each model's module knows
what is in them.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from demo.tiny.language import LANGUAGE_MODEL, LANGUAGE_PARTS

STAMP = ".tiny-checkpoint"
DEFAULT_SEED = 20250902
NAMES = ("BEN2", "FLUX.1-Fill-dev", "Qwen-Image-Edit-2509")


def main(arguments: list[str] | None = None) -> int:
    """Build what is missing or stale under `--out`.

    The exit status is 0 when everything is in place.
    """
    parser = argparse.ArgumentParser(prog="python -m demo.tiny", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder that receives one subfolder per model")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="seed of the random weights (%(default)s)")
    parser.add_argument("--only", choices=NAMES, help="build this one alone")
    options = parser.parse_args(arguments)
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in NAMES:
        if options.only in (None, name):
            write_checkpoint(options.out / name, options.seed)
    return 0


def write_checkpoint(folder: Path, seed: int) -> bool:
    """Build the model that `folder` is named after, unless it is current already.

    True when it was built.

    The folder appears complete or not at all: it is written beside its place and moved there. A second process that
    wants the same folder waits.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _write_locked(folder, seed)
    finally:
        os.close(lock)


def _write_locked(folder: Path, seed: int) -> bool:
    stamp = fingerprint(seed)
    if folder.joinpath(STAMP).is_file() and folder.joinpath(STAMP).read_text() == stamp:
        print(f"{folder}: already there", flush=True)
        return False
    started = time.monotonic()
    print(f"{folder}: building …", flush=True)
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
    scratch.mkdir()
    try:
        builder(folder.name)(scratch, seed)
        scratch.joinpath(STAMP).write_text(stamp)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{folder}: {megabytes(folder):.1f} MB in {time.monotonic() - started:.1f} s", flush=True)
    return True


def builder(name: str) -> Callable[[Path, int], None]:
    """The build function of the model called `name`.

    Imports torch only now, so that a current folder costs nothing.
    """
    if name == "BEN2":
        from demo.tiny import ben2

        return ben2.build
    if name == "FLUX.1-Fill-dev":
        from demo.tiny import flux_fill

        return flux_fill.build
    from demo.tiny import qwen_edit

    return qwen_edit.build


def fingerprint(seed: int) -> str:
    """Changes with anything that changes a checkpoint.

    The seed, the sources that make it, the libraries' versions.
    """
    digest = hashlib.sha256(str(seed).encode())
    taken = (file for part in LANGUAGE_PARTS for file in sorted((LANGUAGE_MODEL / part).iterdir()))
    for source in (*sorted(Path(__file__).parent.glob("*.py")), *taken):
        digest.update(source.read_bytes())
    for library in ("torch", "diffusers", "transformers"):
        digest.update(f"{library}={metadata.version(library)}".encode())
    return digest.hexdigest()


def megabytes(folder: Path) -> float:
    """Size of everything under `folder`, in MB."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


if __name__ == "__main__":
    sys.exit(main())
