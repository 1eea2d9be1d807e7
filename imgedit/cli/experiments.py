"""The command `imgedit experiments`: show the catalogue as command-line options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict
from rich.cells import cell_len

from imgedit.cli import completion, field_names
from imgedit.cli.connection import Connect, connecting
from imgedit.cli.console import Lang, fail_with, language, out, plain, print_json, say
from imgedit.cli.help_layout import width, wrapped
from imgedit.errors import ExperimentNotFound, ImgeditError, did_you_mean
from imgedit.v1 import edit_pb2

_INDENT = "    "
_OPTION_COLUMNS = 20


@connecting
def experiments(
    connect: Connect,
    experiment: Annotated[
        str | None,
        typer.Argument(help="Id of one experiment, to see the options of its features.", metavar="[ID]"),
    ] = None,
    feature: Annotated[
        str | None,
        typer.Option(
            "--feature", "-f", help="Id of one feature, to see its options alone.", autocompletion=completion.features
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, as the REST API does.")] = False,
    lang: Lang = None,
) -> None:
    """List the experiments and their features, and whether they are available.

    With ID, list the options of each feature.
    """
    with connect().open() as client:
        try:
            found = client.experiments()
            chosen = _chosen(found, experiment, feature)
        except ImgeditError as error:
            fail_with(error)
    if as_json:
        print_json({"experiments": [MessageToDict(one) for one in chosen]})
        return
    for number, one in enumerate(chosen):
        if number:
            out.print()
        _print_head(one)
        if experiment is None and feature is None:
            _print_features(one.features)
        else:
            _print_options(one.features)
    if experiment is None and feature is None and chosen:
        hint = say("`imgedit experiments ID` shows the options of each feature, for instance {id}", id=chosen[0].id)
        _print(["", *wrapped(hint, width())])


def _chosen(
    found: Sequence[edit_pb2.Experiment], experiment: str | None, feature: str | None
) -> list[edit_pb2.Experiment]:
    """The requested experiments and features."""
    chosen = [one for one in found if experiment in (None, one.id)]
    if not chosen and experiment is not None:
        ids = [one.id for one in found]
        known = ", ".join(ids) or "–"
        raise ExperimentNotFound(
            f"there is no experiment {experiment!r}{did_you_mean(experiment, ids)}; there are {known}",
            korean=f"{experiment!r} 실험이 없습니다. 있는 실험: {known}",
        )
    if feature is None:
        return chosen
    copies = []
    for one in chosen:
        kept = [part for part in one.features if part.id == feature]
        if kept:
            copy = edit_pb2.Experiment()
            copy.CopyFrom(one)
            del copy.features[:]
            copy.features.extend(kept)
            copies.append(copy)
    if not copies:
        ids = [part.id for one in chosen for part in one.features]
        known = ", ".join(ids)
        raise ExperimentNotFound(
            f"there is no feature {feature!r}{did_you_mean(feature, ids)}; there are {known}",
            korean=f"{feature!r} 기능이 없습니다. 있는 기능: {known}",
        )
    return copies


def _print(lines: Iterable[str], style: str | None = None) -> None:
    for line in lines:
        out.print(plain(line), style=style, soft_wrap=True, highlight=False)


def _print_head(experiment: edit_pb2.Experiment) -> None:
    _print(wrapped(f"{experiment.id} – {experiment.name}", width()), "bold")
    if experiment.description:
        _print(f"  {line}" for line in wrapped(experiment.description, width() - 2))
    if not experiment.available:
        services = ", ".join(experiment.unavailable_services)
        text = say("not available now: {services} not serving", services=services)
        _print((f"  {line}" for line in wrapped(text, width() - 2)), "red")


def _print_features(features: Sequence[edit_pb2.Feature]) -> None:
    column = max((cell_len(feature.id) for feature in features), default=0) + 2
    for feature in features:
        state = "" if feature.available else say(" (not available now)")
        name, *rest = wrapped(_name(feature) + state, width() - column - 2) or [""]
        _print([f"  {feature.id}{' ' * (column - cell_len(feature.id))}{name}"])
        _print(" " * (2 + column) + line for line in rest)


def _name(feature: edit_pb2.Feature) -> str:
    """The catalogue's name, and what it is used for in the reader's language."""
    return " – ".join(dict.fromkeys(filter(None, (feature.name, feature.task.get(language(), "")))))


def _print_options(features: Sequence[edit_pb2.Feature]) -> None:
    """Print the options that all features share once, and each feature's other ones."""
    rows = {feature.id: dict(_row(spec) for spec in feature.parameters if _is_told(spec)) for feature in features}
    common = set.intersection(*(set(found.items()) for found in rows.values())) if len(features) > 1 else set()
    for feature in features:
        out.print()
        _print_features([feature])
        _print_examples(feature)
        _print_loras(feature)
        _print_rows({option: text for option, text in rows[feature.id].items() if (option, text) not in common})
    if common:
        out.print()
        _print([f"  {say('Every feature of this experiment also takes:')}"])
        first = next(iter(rows.values()))
        _print_rows({option: text for option, text in first.items() if (option, text) in common})


def _print_examples(feature: edit_pb2.Feature) -> None:
    prompts = filter(None, (example.prompt.get(language(), "") for example in feature.examples))
    for prompt in prompts:
        text = say("for example: {prompt}", prompt=prompt)
        _print(f"{_INDENT}{line}" for line in wrapped(text, width() - len(_INDENT)))


def _print_loras(feature: edit_pb2.Feature) -> None:
    if names := ", ".join(dict.fromkeys(lora.name for lora in feature.loras)):
        _print(f"{_INDENT}{line}" for line in wrapped(say("LoRAs: {names}", names=names), width() - len(_INDENT)))


def _print_rows(rows: dict[str, str]) -> None:
    for option, text in rows.items():
        head, *rest = wrapped(text, width() - len(_INDENT) - _OPTION_COLUMNS) or [""]
        _print([f"{_INDENT}{option:{_OPTION_COLUMNS - 1}} {head}"])
        _print(f"{_INDENT}{' ' * _OPTION_COLUMNS}{line}" for line in rest)


def _is_told(spec: edit_pb2.ParameterSpec) -> bool:
    """Whether an edit from the command line can set it."""
    return spec.name in field_names.OPTIONS or spec.name in field_names.GROUPS


def _row(spec: edit_pb2.ParameterSpec) -> tuple[str, str]:
    """The option, and a text with its range, default, recommendation and purpose."""
    option = (
        field_names.option_of(spec.name).partition(", ")[0]
        if spec.name in field_names.GROUPS
        else field_names.OPTIONS[spec.name]
    )
    if spec.name == "postprocess":
        option = "--no-postprocess"
    notes = [_accepted(spec)]
    if spec.required:
        notes.append(say("required"))
    if default := _default(spec):
        notes.append(say("default {value}", value=default))
    if spec.range.HasField("recommended_min"):
        ends = dict.fromkeys((f"{spec.range.recommended_min:g}", f"{spec.range.recommended_max:g}"))
        notes.append(say("recommended {value}", value="–".join(ends)))
    help_text = spec.help[language()]
    return option, ". ".join(filter(None, (", ".join(filter(None, notes)), field_names.in_options(help_text))))


def _default(spec: edit_pb2.ParameterSpec) -> str:
    match spec.default.WhichOneof("kind"):
        case "number_value":
            return _number(spec.default.number_value)
        case "bool_value":
            return ""  # a switch is off unless it is given
        case "struct_value":
            margins = MessageToDict(spec.default.struct_value)
            return ", ".join(f"{name} {length:g}" for name, length in margins.items())
        case _:
            return field_names.choice(spec.default.string_value) if spec.name != "postprocess" else ""


def _accepted(spec: edit_pb2.ParameterSpec) -> str:
    """The accepted values: a range, lengths, a number of files, or names."""
    match spec.WhichOneof("constraint"):
        case "range":
            return f"{_number(spec.range.min)}–{_number(spec.range.max)}"
        case "length":
            return say("{min}–{max} characters", min=spec.length.min, max=spec.length.max)
        case "count" if spec.count.max == 1:
            return say("a file")
        case "count":
            return say("{min}–{max} files", min=spec.count.min, max=spec.count.max)
        case "choices" if spec.name != "postprocess":
            return " | ".join(map(field_names.choice, spec.choices.names))
    if len(field_names.GROUPS.get(spec.name, ())) < 2:
        return ""
    return say("with {options}", options=", ".join(field_names.GROUPS[spec.name][1:]))


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else f"{value:g}"
