"""The command `imgedit experiments`: the catalogue as tables."""

from __future__ import annotations

from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from rich.markup import escape
from rich.table import Table

from imgedit.cli.connection import Connect, connecting
from imgedit.cli.console import Lang, fail_with, language, out, print_json
from imgedit.errors import ImgeditError
from imgedit.v1 import edit_pb2


@connecting
def experiments(
    connect: Connect,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, as the REST API does.")] = False,
    lang: Lang = None,
) -> None:
    """List experiments, features and parameters, with their availability."""
    with connect().open() as client:
        try:
            found = client.experiments()
        except ImgeditError as error:
            fail_with(error, language(lang), as_json=as_json)
    if as_json:
        print_json({"experiments": [MessageToDict(experiment) for experiment in found]})
        return
    for experiment in found:
        state = "[green]available[/]"
        if not experiment.available:
            state = f"[red]not available:[/] {', '.join(experiment.unavailable_services)} not serving"
        out.print(f"[bold]{experiment.id}[/]  {escape(experiment.name)} – {escape(experiment.description)}  ({state})")
        out.print(_table(experiment))


def _table(experiment: edit_pb2.Experiment) -> Table:
    table = Table("feature", "name", "parameter", "default", "range", "recommended")
    table.columns[0].no_wrap = table.columns[2].no_wrap = True
    for feature in experiment.features:
        name = escape(feature.name) + ("" if feature.available else " [red](not available)[/]")
        for index, spec in enumerate(feature.parameters):
            first = (feature.id, name) if index == 0 else ("", "")
            table.add_row(*first, *_row(spec))
        table.add_section()
    return table


def _row(spec: edit_pb2.ParameterSpec) -> tuple[str, str, str, str]:
    limits = spec.range
    has_advice = limits.HasField("recommended_min")
    recommended = f"{limits.recommended_min:g} – {limits.recommended_max:g}" if has_advice else ""
    return (spec.name + (" *" if spec.required else ""), escape(_default(spec)), _accepted(spec), recommended)


def _default(spec: edit_pb2.ParameterSpec) -> str:
    match spec.default.WhichOneof("kind"):
        case "number_value":
            return _number(spec.default.number_value)
        case "bool_value":
            return "yes" if spec.default.bool_value else "no"
        case "struct_value":
            margins = MessageToDict(spec.default.struct_value)
            return ", ".join(f"{name} {length:g}" for name, length in margins.items())
        case _:
            return spec.default.string_value


def _accepted(spec: edit_pb2.ParameterSpec) -> str:
    """The range of a number, the length of a text, the image count, or the choices."""
    match spec.WhichOneof("constraint"):
        case "range":
            return f"{_number(spec.range.min)} – {_number(spec.range.max)}"
        case "length":
            return f"{spec.length.min} – {spec.length.max} characters"
        case "count":
            return f"{spec.count.min} – {spec.count.max} files"
        case "choices":
            return "\n".join(spec.choices.names)
    return "yes, no" if spec.type == edit_pb2.PARAMETER_TYPE_BOOLEAN else ""


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else f"{value:g}"
