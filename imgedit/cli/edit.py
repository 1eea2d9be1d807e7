"""The command `imgedit edit`: one file in, one file out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from imgedit import output_files
from imgedit.cli.connection import Connect, connecting
from imgedit.cli.console import Lang, Language, err, fail, fail_with, language, message, print_json, print_path
from imgedit.cli.edit_options import FORMATS, Ask, Quality, asking, given_files, output_options
from imgedit.client import DEFAULT_TIMEOUT
from imgedit.errors import ImgeditError
from imgedit.progress import Progress
from imgedit.result import EditResult


@connecting
@asking
def edit(
    connect: Connect,
    ask: Ask,
    image: Annotated[Path, typer.Argument(help="The picture: PNG, JPEG or WebP.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Result file; its ending chooses the format. [default: NAME.edited.png]"),
    ] = None,
    quality: Quality = None,
    cutout: Annotated[Path | None, typer.Option(help="Also write the subject without background here (PNG).")] = None,
    mask_output: Annotated[Path | None, typer.Option(help="Also write the composite's mask alpha here (PNG).")] = None,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.", min=0.1)] = DEFAULT_TIMEOUT,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: what was made and used, or the error.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    lang: Lang = None,
) -> None:
    """Edit one picture.

    `imgedit experiments` lists what there is, with ranges and defaults.
    """
    options = ask()
    output = output or image.with_name(f"{image.stem}.edited.png")
    if output.suffix.lower() not in FORMATS:
        fail(f"cannot write {output}: the name must end in {', '.join(FORMATS)}", as_json=as_json)
    for path in (cutout, mask_output):
        if path and path.suffix.lower() != ".png":
            fail(f"cannot write {path}: cut-out and mask are PNG files, so the name must end in .png", as_json=as_json)
    for file in (image, *given_files(options)):
        if not file.is_file():
            fail(f"there is no file {file}", as_json=as_json)
    _check_outputs([path for path in (output, cutout, mask_output) if path], language(lang), as_json=as_json)
    options["output"] = output_options(
        output.suffix.lower(), quality, has_cutout=bool(cutout), has_mask=bool(mask_output)
    )
    with connect().open() as client, _bar(quiet) as bar:
        task = bar.add_task("sending", total=None, detail="")
        try:
            answer = client.edit(image, timeout=timeout, on_progress=lambda now: _show(bar, task, now), **options)
        except ImgeditError as error:
            bar.stop()
            fail_with(error, language(lang), as_json=as_json)
        except OSError as error:
            bar.stop()
            fail(message(error, language(lang)), as_json=as_json)
    files = {"output": (output, answer.output_image)}
    if cutout and answer.background_removed_image:
        files["cutout"] = (cutout, answer.background_removed_image)
    if mask_output:
        files["mask"] = (mask_output, answer.mask_image)
    faults = [fault for path, data in files.values() if (fault := _written(path, data, language(lang)))]
    for warning in answer.warnings:
        err.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    if faults:
        fail("; ".join(faults), as_json=as_json)
    if as_json:
        print_json({**{name: str(path) for name, (path, _) in files.items()}, **_used(answer)})
        return
    timings = ", ".join(f"{timing.name} {timing.seconds:.2f} s" for timing in answer.stage_timings)
    summary = f"seed {answer.seed} · {answer.width}x{answer.height} · {answer.elapsed_time:.2f} s ({timings})"
    err.print(summary, soft_wrap=True)
    print_path(output)


def _check_outputs(paths: list[Path], lang: Language, *, as_json: bool) -> None:
    """End before the edit where a result could not be written."""
    for path in paths:
        try:
            output_files.check(path)
        except OSError as error:
            fail(f"cannot write {message(error, lang)}", as_json=as_json)
    if len({path.absolute() for path in paths}) < len(paths):
        fail("--output, --cutout and --mask-output must be different files", as_json=as_json)


def _written(path: Path, data: bytes, lang: Language) -> str | None:
    """Write a result; what went wrong, and where it is kept then."""
    try:
        output_files.write_or_keep(path, data)
    except OSError as error:
        return f"cannot write {message(error, lang)}"
    return None


def _used(answer: EditResult) -> dict[str, Any]:
    """The answer but for its pictures."""
    return {
        "request_id": answer.request_id,
        "seed": answer.seed,
        "width": answer.width,
        "height": answer.height,
        "seconds": round(answer.elapsed_time, 3),
        "stages": [{"name": timing.name, "seconds": round(timing.seconds, 3)} for timing in answer.stage_timings],
        "effective": MessageToDict(answer.effective),
        "warnings": list(answer.warnings),
    }


def _bar(quiet: bool) -> Bar:
    return Bar(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=quiet,
    )


def _show(bar: Bar, task: TaskID, now: Progress) -> None:
    """The stage and its place, then its steps."""
    left = f", {now.eta_seconds:.0f} s left" if now.eta_seconds is not None else ""
    detail = f"step {now.step}/{now.steps}{left}" if now.steps else ""
    if now.waiting is not None:
        detail = f"waiting, {now.waiting} before{left}"
    bar.update(
        task,
        description=f"{now.index}/{now.count} {now.stage}",
        completed=now.step,
        total=now.steps or None,
        detail=detail,
    )
