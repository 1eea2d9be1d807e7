"""The command `imgedit experiments`: the catalogue as tables."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from imgedit.connection import Connect, connecting
from imgedit.console import Lang, fail_with, language, out
from imgedit.errors import ImgeditError
from imgedit.v1 import edit_pb2


@connecting
def experiments(connect: Connect, lang: Lang = None) -> None:
    """List the experiments, their features and parameters, and whether they can be used now."""
    with connect().open() as client:
        try:
            found = client.experiments()
        except ImgeditError as error:
            fail_with(error, language(lang))
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
    default = ""
    if spec.HasField("default"):
        value = spec.default
        default = f"{value.number_value:g}" if value.HasField("number_value") else value.string_value
    recommended = f"{spec.recommended_min:g} – {spec.recommended_max:g}" if spec.HasField("recommended_min") else ""
    return (
        spec.name + (" *" if spec.required else ""),
        escape(default),
        f"{_number(spec.min)} – {_number(spec.max)}",
        recommended,
    )


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else f"{value:g}"
