"""The command `imgedit inspect`: show the record of a result, or repeat the edit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from imgedit.cli import outputs
from imgedit.cli.connection import Connect, connecting
from imgedit.cli.console import Lang, err, fail, fail_with, need_file, out, plain, print_json, print_path, say
from imgedit.cli.outputs import Force
from imgedit.client import DEFAULT_TIMEOUT
from imgedit.errors import ImgeditError
from imgedit.imaging import provenance
from imgedit.imaging.provenance import Record
from imgedit.v1 import edit_pb2


@connecting
def inspect(
    connect: Connect,
    file: Annotated[Path, typer.Argument(help="A result: PNG, JPEG or WebP.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    replay: Annotated[
        Path | None,
        typer.Option(help="Make the same edit again, from this picture, which must be the one that was edited."),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="The mask of the edit, for --replay.")] = None,
    reference: Annotated[list[Path] | None, typer.Option(help="A reference of the edit, for --replay.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The prompt, for --replay of a file that leaves it out.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "--out",
            "-o",
            help="Result of --replay. [default: NAME.replay.SUFFIX, or the next free NAME.replay-2.SUFFIX …]",
        ),
    ] = None,
    force: Force = False,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.", min=0.1)] = DEFAULT_TIMEOUT,
    lang: Lang = None,
) -> None:
    """Show how a result was made.

    With --replay make it again and compare the two.
    """
    need_file(file)
    data = file.read_bytes()
    record = provenance.read_record(data)
    if record is None:
        source = provenance.source_type(data)
        more = say("; its DigitalSourceType is {source}", source=source) if source else ""
        fail(say("{path} holds no record of an edit", path=file) + more)
    if replay is None:
        _show(record, data, as_json=as_json)
        return
    if as_json:
        raise typer.BadParameter("--json and --replay do not go together; inspect the new result with --json")
    inputs = [file, replay, *([mask] if mask else []), *(reference or ())]
    for one in inputs:
        need_file(one)
    try:
        request = provenance.request_of(
            record,
            replay.read_bytes(),
            mask=mask.read_bytes() if mask else b"",
            references=[path.read_bytes() for path in reference or ()],
            prompt=prompt,
        )
    except (OSError, ValueError) as error:
        fail(str(error))
    output = output or outputs.free_name(file.with_name(f"{file.stem}.replay{file.suffix}"))
    outputs.settle([output], inputs, force=force)
    result = _edited(request, connect, timeout)
    if fault := outputs.written(output, result.output_image):
        fail(fault)
    for line in _differences(record, provenance.read_record(result.output_image)):
        err.print(f"[yellow]differs:[/] {plain(line)}", highlight=False)
    err.print("the same bytes" if result.output_image == data else "not the same bytes")
    print_path(output)


def _edited(request: edit_pb2.EditRequest, connect: Connect, timeout: float) -> edit_pb2.EditResponse:
    try:
        with connect().open() as client:
            *_, last = client.edit_stream(request, timeout=timeout)
    except ImgeditError as error:
        fail_with(error)
    return last.result


def _show(record: Record, data: bytes, *, as_json: bool) -> None:
    source = provenance.source_type(data)
    if as_json:
        print_json(dict(sorted({"digital_source_type": source, **asdict(record)}.items())))
        return
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("made by", plain(record.generator))
    table.add_row("DigitalSourceType", plain(source or "– (nothing was painted)"))
    table.add_row("experiment", plain(record.experiment_id))
    for name, value in record.effective.items():
        table.add_row(plain(name), plain(_text(value)))
    for name, value in record.inputs.items():
        table.add_row(plain(f"SHA-256 of {name}"), plain(_text(value)))
    if not record.has_prompts:
        table.add_row("prompt", "left out by the server")
    out.print(table)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, list):
        return "; ".join(_text(part) for part in value)
    return str(value)


def _differences(before: Record, after: Record | None) -> list[str]:
    """The parameters that differ this time: another model, a new default."""
    if after is None:
        return ["the new result holds no record"]
    names = {**before.effective, **after.effective}
    return [
        f"{name}: {_text(before.effective.get(name, '–'))} → {_text(after.effective.get(name, '–'))}"
        for name in names
        if before.effective.get(name) != after.effective.get(name)
    ]
