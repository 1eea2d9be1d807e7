"""The command `imgedit models adopt`: link ComfyUI's weights, print a report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from imgedit.cli.console import fail, out, plain, print_json
from imgedit.cli.exit_codes import ExitCode
from imgedit.errors import ModelLoadError
from imgedit.weights import adopt as adopting
from imgedit.weights.identify import FLUX


def adopt(
    source: Annotated[Path, typer.Argument(help="The models folder of ComfyUI, or any folder with such files.")],
    models: Annotated[
        Path, typer.Option("--models", help="Folder that will hold the model folders.", envvar="IMGEDIT_MODELS")
    ],
    take: Annotated[
        list[Path] | None,
        typer.Option(help="Take this file where several fit; may be given for each. [default: the largest]"),
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the weights instead of linking to them.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make model folders from ComfyUI's weights files.

    Nothing is downloaded or converted. Files are identified by their tensors. Configurations are written; tokenizers
    are copied from ComfyUI's own code. Exit code 0: each model of which a file was found is complete; 1: otherwise.
    """
    try:
        report = adopting.adopt(source, models, take=tuple(take or ()), copy=copy, dry=dry_run)
    except ModelLoadError as error:
        fail(error.message)
    except OSError as error:
        fail(f"{error.filename or models}: {error.strerror or error}")
    complete = bool(report.models) and not any(model.missing for model in report.models)
    if as_json:
        print_json({"complete": complete, **asdict(report)})
    else:
        _tell(report, dry=dry_run)
        _tell_next(report, models, complete=complete)
    raise typer.Exit(ExitCode.DONE if complete else ExitCode.FAILED)


def _tell(report: adopting.Report, *, dry: bool) -> None:
    for model in report.models:
        _line(f"{model.folder}: {'complete' if not model.missing else 'incomplete'}{', nothing done' if dry else ''}")
        written = sum(placed.how == "written" for placed in model.placed)
        for placed in model.placed:
            if placed.how != "written":
                origin = f" ← {placed.source}" if placed.source else ""
                _line(f"  {placed.how:5} {placed.target}{origin}  {placed.what}")
        if written:
            _line(f"  {written} configurations with the published values")
        for missing in model.missing:
            _line(f"  missing: {missing}")
    for placed in report.loras:
        service = "FILL" if "FLUX" in placed.what else "QWEN_EDIT"
        name = f"loras/{Path(placed.target).name}"
        _line(f"{placed.what}: {placed.target}; for profile fast: IMGEDIT_{service}_LORA_FAST={name}")
    for heading, files in (("left out", report.left_out), ("not understood", report.not_understood)):
        for path, reason in files:
            _line(f"{heading}: {path}: {reason}")


def _tell_next(report: adopting.Report, models: Path, *, complete: bool) -> None:
    if not report.models:
        _line("no file of a model that imgedit runs was found")
    for model in report.models:
        if model.missing:
            token = "HF_TOKEN=… " if model.folder == FLUX else ""
            _line(
                f"for {model.folder}: put what is missing into ComfyUI's folders and adopt again, or pull it: "
                f"{token}imgedit models pull {model.key} --models {models}, with --small for configurations and "
                "tokenizers alone"
            )
    if complete:
        _line(f"start with: imgedit up --models {models}")


def _line(text: str) -> None:
    out.print(plain(text) if text else escape(text), soft_wrap=True, highlight=False)
