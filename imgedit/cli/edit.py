"""The command `imgedit edit`: edit one file, or a picture from a pipe."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from google.protobuf.json_format import MessageToDict
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from imgedit.cli import outputs
from imgedit.cli.connection import Connect, connecting
from imgedit.cli.console import (
    Lang,
    err,
    fail,
    fail_with,
    is_folder,
    is_json,
    language,
    message,
    need_file,
    out,
    print_json,
    print_path,
    say,
    warn,
)
from imgedit.cli.edit_options import FORMATS, Ask, Quality, asking, given_files, output_options
from imgedit.cli.exit_codes import ExitCode
from imgedit.cli.outputs import STANDARD, Force
from imgedit.client import DEFAULT_TIMEOUT
from imgedit.errors import ImgeditError
from imgedit.progress import Progress
from imgedit.request import EditOptions
from imgedit.result import EditResult


@connecting
@asking
def edit(
    connect: Connect,
    ask: Ask,
    image: Annotated[Path, typer.Argument(help="The picture: PNG, JPEG or WebP. - is standard input.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Result file; its ending chooses the format. - is standard output. [default: NAME.edited.png, or the "
            "next free NAME.edited-2.png …; for -, standard output]",
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "--n", help="Results to make, with one seed after the other; the second is OUTPUT-2.", min=1, max=4
        ),
    ] = None,
    format: Annotated[
        Literal["png", "jpeg", "webp"] | None,
        typer.Option(help="Format of a result on standard output. [default: png]"),
    ] = None,
    quality: Quality = None,
    cutout: Annotated[Path | None, typer.Option(help="Also write the subject without background here (PNG).")] = None,
    mask_output: Annotated[Path | None, typer.Option(help="Also write the composite's mask alpha here (PNG).")] = None,
    force: Force = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only print how long the edit would take; edit nothing.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.", min=0.1)] = DEFAULT_TIMEOUT,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: what was made and used, or the error.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    lang: Lang = None,
) -> None:
    """Edit one picture.

    `imgedit experiments` lists the experiments, with ranges and defaults. The picture itself is never overwritten, any
    other existing file only after a question or with --force.
    """
    options = ask()
    options["n"] = n
    if is_folder(image):
        hint = shlex.join(["imgedit", "batch", str(image), "--out"])
        fail(say("{path} is a folder; `{hint} DIR` edits every picture in it", path=image, hint=hint))
    if estimate:
        _estimate(connect, image, options, timeout)
        return
    output = _output(image, output)
    ending = _ending(output, format)
    paths = _paths(output, n or 1)
    for path in (cutout, mask_output):
        if path and path.suffix.lower() != ".png":
            fail(say("cannot write {path}: cut-out and mask are PNG files, so the name must end in .png", path=path))
    inputs = [*([] if image == STANDARD else [image]), *given_files(options)]
    for file in inputs:
        need_file(file)
    _settle([*paths, *(path for path in (cutout, mask_output) if path)], inputs, force=force)
    options["output"] = output_options(ending, quality, has_cutout=bool(cutout), has_mask=bool(mask_output))
    picture = outputs.read_standard_input() if image == STANDARD else image
    with connect().open() as client, _bar(quiet) as bar:
        task = bar.add_task("sending", total=None, detail="")
        try:
            result = client.edit(picture, timeout=timeout, on_progress=lambda now: _show(bar, task, now), **options)
        except ImgeditError as error:
            bar.stop()
            fail_with(error)
        except OSError as error:
            bar.stop()
            fail(message(error))
    _deliver(result, paths, cutout, mask_output)


def _estimate(connect: Connect, image: Path, options: EditOptions, timeout: float) -> None:
    """Print how long the edit would take."""
    for file in [*([] if image == STANDARD else [image]), *given_files(options)]:
        need_file(file)
    picture = outputs.read_standard_input() if image == STANDARD else image
    with connect().open() as client:
        try:
            found = client.estimate(picture, timeout=timeout, **options)
        except ImgeditError as error:
            fail_with(error)
        except OSError as error:
            fail(message(error))
    if is_json():
        print_json(vars(found))
        return
    if found.seconds is None or found.queue_seconds is None:
        text = say("not known yet: the server has done no such edit since its start")
    else:
        text = say("about {seconds:.1f} s", seconds=found.seconds)
    if found.queue_position:
        text += say("; jobs ahead of it: {jobs}", jobs=found.queue_position)
    out.print(text, highlight=False)


def _output(image: Path, output: Path | None) -> Path:
    """Where the result goes."""
    if output is None:
        return STANDARD if image == STANDARD else outputs.free_name(image.with_name(f"{image.stem}.edited.png"))
    return output


def _paths(output: Path, n: int) -> list[Path]:
    """Where each of n results goes."""
    if n > 1 and output == STANDARD:
        raise typer.BadParameter("--n above 1 and a result on standard output do not go together; name a file by -o")
    further = (output.with_name(f"{output.stem}-{number}{output.suffix}") for number in range(2, n + 1))
    return [output, *further]


def _ending(output: Path, format: Literal["png", "jpeg", "webp"] | None) -> str:
    """The ending of a name that says the result's format."""
    if output == STANDARD:
        if is_json():
            raise typer.BadParameter("--json and a result on standard output do not go together; name a file by -o")
        outputs.check_standard_output()
        return f".{format or 'png'}"
    if format is not None:
        raise typer.BadParameter("--format is for a result on standard output; a file's ending says its format")
    if output.suffix.lower() not in FORMATS:
        endings = ", ".join(FORMATS)
        fail(say("cannot write {path}: the name must end in {endings}", path=output, endings=endings))
    return output.suffix.lower()


def _settle(paths: list[Path], inputs: list[Path], *, force: bool) -> None:
    """End before the edit where a result could not be written."""
    files = [path for path in paths if path != STANDARD]
    if len({path.absolute() for path in files}) < len(files):
        fail(say("--output, --cutout and --mask-output must be different files"), ExitCode.USAGE)
    outputs.settle(files, inputs, force=force)


def _deliver(result: EditResult, paths: list[Path], cutout: Path | None, mask: Path | None) -> None:
    """Write the results and say what was made."""
    output, results = paths[0], result.results
    files = {} if output == STANDARD else {"output": (output, result.output_image)}
    further = list(zip(paths[1:], results[1:], strict=True))
    if cutout and result.background_removed_image:
        files["cutout"] = (cutout, result.background_removed_image)
    if mask:
        files["mask"] = (mask, result.mask_image)
    wanted = [*files.values(), *((path, single.output_image) for path, single in further)]
    faults = [fault for path, data in wanted if (fault := outputs.written(path, data))]
    for warning in result.korean_warnings if language() == "ko" else result.warnings:
        warn(warning)
    if output == STANDARD:
        outputs.write_standard_output(result.output_image)
    if faults:
        fail("; ".join(faults))
    if is_json():
        others = [{"output": str(path), "seed": single.seed} for path, single in further]
        said = {name: str(path) for name, (path, _) in files.items()} | ({"further": others} if others else {})
        print_json({**said, **_used(result)})
        return
    timings = ", ".join(f"{timing.name} {timing.seconds:.2f} s" for timing in result.stage_timings)
    seeds = ", ".join(str(single.seed) for single in results)
    summary = f"seed {seeds} · {result.width}x{result.height} · {result.elapsed_time:.2f} s ({timings})"
    err.print(summary, soft_wrap=True)
    for path in paths:
        if path != STANDARD:
            print_path(path)


def _used(result: EditResult) -> dict[str, Any]:
    """The answer but for its pictures."""
    return {
        "request_id": result.request_id,
        "seed": result.seed,
        "width": result.width,
        "height": result.height,
        "seconds": round(result.elapsed_time, 3),
        "stages": [{"name": timing.name, "seconds": round(timing.seconds, 3)} for timing in result.stage_timings],
        "effective": MessageToDict(result.effective),
        "warnings": list(result.warnings),
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
        disable=quiet or not err.is_terminal,
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
