"""Read untrusted workflow files into nodes with links; reject everything else.

This module knows JSON and the form of ComfyUI's API format, not the meaning of nodes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from imgedit.errors import SettingsError

MAX_BYTES = 1024 * 1024
MAX_NODES = 500
MAX_INPUTS = 100
"""Of one node."""

MAX_CHARACTERS = 10_000
"""Of one text, a node's id and class aside."""

MAX_NAME = 200
"""Characters of an id, a class, a title or an input's name."""

MAX_FAULTS = 20
"""Faults that are reported at once."""

EXPORT_ADVICE = (
    'save it in API format: in ComfyUI choose "Workflow > Export (API)"; older versions show "Save (API Format)" once '
    "the dev mode options are switched on in the settings"
)


class WorkflowError(SettingsError):
    """A workflow that makes no experiment; the message has a line per fault."""


@dataclass(frozen=True)
class Link:
    """An input's link to another node: the node's id, and the number of its output."""

    node: str
    output: int


@dataclass(frozen=True)
class Node:
    """One node: an input is a link, or a value as JSON has it."""

    id: str
    kind: str
    title: str
    inputs: Mapping[str, Any]

    def __str__(self) -> str:
        name = f"{self.kind} {shown_value(self.title)}" if self.title and self.title != self.kind else self.kind
        return f"node {shown_value(self.id)} ({plain(name)})"


def plain(text: str) -> str:
    """A text from the file, safe for a comment or a terminal.

    Control characters, line ends and marks of direction are escaped.
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


def shown_value(value: object) -> str:
    """A value for people, on one line and of bounded length, texts in quotation marks."""
    if isinstance(value, str):
        return f'"{plain(value if len(value) <= 80 else value[:79] + "…")}"'
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int):
        return str(value) if value.bit_length() < 128 else "a number of over 38 digits"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Link):
        return f"a link to node {shown_value(value.node)}"
    return "a list" if isinstance(value, list) else "an object"


def read_workflow(path: Path) -> dict[str, Node]:
    """The nodes of a workflow file by id.

    Raises `WorkflowError` with a line for each fault.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise WorkflowError(f"cannot be read: {error.strerror}") from None
    return parse(data)


def parse(data: bytes) -> dict[str, Node]:
    """The nodes of a workflow by id.

    Raises `WorkflowError` with a line for each fault.
    """
    content = _json(data)
    if not isinstance(content, dict):
        raise WorkflowError(
            f"must be a JSON object with a node for each id, is {shown_value(content)}; {EXPORT_ADVICE}"
        )
    if isinstance(content.get("nodes"), list):
        raise WorkflowError(f"is a workflow as ComfyUI's editor saves it, with positions and links; {EXPORT_ADVICE}")
    if isinstance(content.get("prompt"), dict) and "class_type" not in content["prompt"]:
        content = content["prompt"]  # the body of ComfyUI's POST /prompt
    if not content:
        raise WorkflowError(f"has no nodes; {EXPORT_ADVICE}")
    if len(content) > MAX_NODES:
        raise WorkflowError(f"must have at most {MAX_NODES} nodes, has {len(content)}")
    faults: list[str] = []
    nodes = {id: _node(id, value, faults) for id, value in content.items()}
    if faults:
        raise WorkflowError("\n".join(faults))
    return nodes


def _json(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise WorkflowError(f"must have at most {MAX_BYTES // 1024} KiB, has more")
    if data.startswith(b"\x89PNG"):
        raise WorkflowError(f"is a picture; load it in ComfyUI, then {EXPORT_ADVICE}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WorkflowError(f"is not UTF-8 text: byte {error.start} is none") from None
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise WorkflowError(f"is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise WorkflowError("is not a workflow: it is nested too deep") from None
    except ValueError:  # Python reads no whole number of thousands of digits
        raise WorkflowError("is not a workflow: it holds a number of thousands of digits") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise WorkflowError(f"is not a workflow: {shown_value(key)} stands twice in one object")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise WorkflowError(f"is not JSON: {name} is not a number")


def _node(id: str, value: Any, faults: list[str]) -> Node:
    """A node; what is wrong with it is added to `faults`."""
    where = f"node {shown_value(id)}"
    if not isinstance(value, dict):
        faults.append(f'{where}: must be an object with "class_type" and "inputs", is {shown_value(value)}')
        return Node(id, "", "", {})
    kind, inputs = value.get("class_type"), value.get("inputs")
    if not isinstance(kind, str) or not kind:
        faults.append(f"{where}: class_type: must be a text, is {_what(value, 'class_type')}")
    if not isinstance(inputs, dict):
        faults.append(f"{where}: inputs: must be an object, is {_what(value, 'inputs')}")
        inputs = {}
    if len(inputs) > MAX_INPUTS:
        faults.append(f"{where}: inputs: must have at most {MAX_INPUTS} entries, has {len(inputs)}")
    meta = value.get("_meta")
    title = meta.get("title", "") if isinstance(meta, dict) else ""
    node = Node(id, str(kind), title if isinstance(title, str) else "", {k: _input(v) for k, v in inputs.items()})
    faults += [f"{where}: {fault}" for fault in _bad_texts(node)]
    return node


def _what(value: dict[str, Any], key: str) -> str:
    return shown_value(value[key]) if key in value else "missing"


def _input(value: Any) -> Any:
    """A link where it is written as one: ["4", 0]."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int:
        return Link(value[0], value[1])
    return value


def _bad_texts(node: Node) -> list[str]:
    named = {
        "its id": node.id,
        "class_type": node.kind,
        "its title": node.title,
        **{f"input {k[:40]!a}": k for k in node.inputs},
    }
    values = {name: value for name, value in node.inputs.items() if isinstance(value, str)}
    long = [
        f"{name}: must have at most {MAX_NAME} characters, has {len(text)}"
        for name, text in named.items()
        if len(text) > MAX_NAME
    ]
    long += [
        f"{plain(name)}: must have at most {MAX_CHARACTERS} characters, has {len(text)}"
        for name, text in values.items()
        if len(text) > MAX_CHARACTERS
    ]
    lone = [name for name, text in {**named, **values}.items() if any("\ud800" <= sign <= "\udfff" for sign in text)]
    return [*long, *(f"{plain(name)}: holds half of a UTF-16 pair, which is not a character" for name in lone)]


def bounded(message: str) -> list[str]:
    """The faults of a message, a line each; of very many the first."""
    faults = message.splitlines()
    more = [f"and {len(faults) - MAX_FAULTS} more faults"] if len(faults) > MAX_FAULTS else []
    return [*faults[:MAX_FAULTS], *more]
