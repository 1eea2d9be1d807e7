"""The command `imgedit models convert`, which runs a service's converter.

It chooses the converter for a file and records the result in `models.lock`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from imgedit import installation
from imgedit.cli.console import err, fail, need_servers, out, print_json
from imgedit.errors import ModelDownloadError
from imgedit.weights import registry

MAX_JSON_BYTES = 1024 * 1024

CONVERTERS = {
    "FluxTransformer2DModel": ("services.fill.convert", "flux-fill"),
    "QwenImageTransformer2DModel": ("services.qwen_edit.convert", "qwen-image-edit"),
}
"""The class that a transformer's config.json names → its converter, and its name in `models.CATALOGUE`."""

BEN2 = ("services.segmentation.convert", "ben2")


class Type(StrEnum):
    """Number formats that can be written."""

    AUTO = "auto"
    BF16 = "BF16"
    F16 = "F16"
    F32 = "F32"
    Q8_0 = "Q8_0"
    Q5_1 = "Q5_1"
    Q5_0 = "Q5_0"
    Q4_1 = "Q4_1"
    Q4_0 = "Q4_0"


def convert(
    source: Annotated[Path, typer.Argument(help="FILE.gguf, a transformer's folder of safetensors, or FILE.pth.")],
    target: Annotated[Path, typer.Argument(help="In this order: a folder, FILE.gguf, or FILE.safetensors.")],
    type: Annotated[
        Type, typer.Option(help="Number format of the result. [default: BF16 to safetensors, Q8_0 to GGUF]")
    ] = Type.AUTO,
    config: Annotated[
        Path | None,
        typer.Option(help="Folder with the transformer's config.json. [default: the folder that is converted]"),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="Digest that the source file must have. [default: that of registry.lock, if any]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Convert weights: GGUF to safetensors and back, or BEN2's .pth to safetensors.

    The source is checked against the model before it is read, and refused when it is not exactly that model. Nothing
    is written over, and a result appears whole or not at all. The licence of the weights stays what it was.
    """
    need_servers()
    try:
        module, key = _converter(source, target, config)
        lock = _lock_beside(target)
        known = _recorded(lock, source)
    except (ModelDownloadError, ValueError) as error:
        fail(str(error))
    options = {"--config": config, "--sha256": sha256 or known}
    command = [sys.executable, "-m", module, str(source), str(target), "--type", type.value]
    command += [str(part) for name, value in options.items() if value is not None for part in (name, value)]
    command += ["--quiet"] if quiet or not err.is_terminal else []
    environment = {**installation.environment(), "PYTHONIOENCODING": f"{err.encoding}:backslashreplace"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, encoding=err.encoding, errors="replace", check=False
    )
    result = _answer(done)
    if "error" in result:
        fail(str(result["error"]))
    made = {
        Path(file["path"]): registry.LockedFile(file["size"], file["sha256"], "converted") for file in result["files"]
    }
    recorded = registry.record_converted(lock, made) if lock else []
    licence = registry.CATALOGUE[key].licence
    if as_json:
        print_json({**result, "model": key, "licence": licence, "recorded_in": recorded})
        return
    for path, file in made.items():
        out.print(f"{escape(str(path))}  {registry.readable(file.size)}  SHA-256 {file.sha256}", soft_wrap=True)
    out.print(f"{result['seconds']:.1f} s · {escape(licence)}", soft_wrap=True)
    if recorded:
        out.print(f"recorded in {registry.LOCK_NAME}", soft_wrap=True)


def _converter(source: Path, target: Path, config: Path | None) -> tuple[str, str]:
    if source.suffix == ".pth":
        return BEN2
    folder = config or (source if source.is_dir() else target)
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(
            f"there is no {path}; --config names the folder of the transformer's config.json, which a GGUF file lacks"
        )
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError("it is too large")
        content = json.loads(path.read_text(encoding="utf-8"))
        name = content["_class_name"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not the configuration of a transformer ({error})") from error
    if name not in CONVERTERS:
        raise ValueError(f"{path} is of {str(name)[:80]!r}; {' and '.join(CONVERTERS)} can be converted")
    return CONVERTERS[name]


def _lock_beside(target: Path) -> Path | None:
    """The models folder that holds the target, by its record."""
    near = (target.absolute(), *target.absolute().parents)[1:4]
    return next((folder for folder in near if (folder / registry.LOCK_NAME).is_file()), None)


def _recorded(lock: Path | None, source: Path) -> str | None:
    """The source's digest when it was pulled."""
    if lock is None:
        return None
    for model in registry.read_lock(lock).values():
        for path, file in model.files.items():
            if (lock / model.folder / path).resolve() == source.resolve():
                return file.sha256
    return None


def _answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {"error": f"the converter ended with exit code {done.returncode}; its last words are above"}
    return result
