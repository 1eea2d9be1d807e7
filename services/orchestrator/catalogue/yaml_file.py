"""A YAML file as plain values, with the line of each.

Rejects what PyYAML accepts silently: duplicate keys, expanding aliases, and unbounded files or nesting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from imgedit.errors import SettingsError

MAX_BYTES = 256 * 1024
MAX_VALUES = 10_000
"""Values of a file with every alias written out: a few lines of nested aliases can stand for billions."""

MAX_DEPTH = 40

MAX_CHARACTERS = 10_000
"""Of one value or key. PyYAML takes the square of a number's length: `59:59:…` in base 60."""

MAX_MESSAGE_CHARACTERS = 300

Key = str | int

_KEY_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")


class _Loader(yaml.SafeLoader):
    """Ends at what is nested or counted without end as soon as it comes.

    The scanner alone takes the square of it.
    """

    _nodes = 0

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        self._check_depth(self.flow_level)
        super().fetch_flow_collection_start(token)

    def add_indent(self, column: int) -> bool:
        self._check_depth(len(self.indents))
        return bool(super().add_indent(column))

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        if self._nodes > 2 * MAX_VALUES:  # keys are nodes too
            raise yaml.MarkedYAMLError(problem=f"over {MAX_VALUES} values", problem_mark=self.get_mark())
        return super().compose_node(parent, index)

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if len(node.value) > MAX_CHARACTERS:
            problem = f"a value of over {MAX_CHARACTERS} characters"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return node

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            problem = f"nested over {MAX_DEPTH} levels deep"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark())


@dataclass(frozen=True)
class YamlFile:
    """A parsed file: its values, and the nodes with their lines."""

    path: Path
    values: Any
    root: yaml.Node

    def line_of(self, keys: Sequence[Key]) -> int:
        """The line, from 1, of the innermost value under `keys`."""
        node, line = self.root, self.root.start_mark.line + 1
        for key in keys:
            found = _child(node, key)
            if found is None:
                return line
            line, node = found
        return line

    def fault(self, keys: Sequence[Key], message: str) -> str:
        """One line of text: file, line, field and problem."""
        field = ".".join(str(key) for key in keys) or "file"
        return f"{self.path}:{self.line_of(keys)}: {field}: {message}"


def read(path: Path) -> YamlFile:
    """Parse a file.

    Raises `SettingsError` with file and line, of every key that stands twice also with its field.
    """
    loader = _loader(path)
    try:
        root = loader.get_single_node()
        if root is None:
            raise SettingsError(f"{path}:1: file: is empty")
        faults = _faults(path, root)
        if faults:
            raise SettingsError("\n".join(faults))
        return YamlFile(path, loader.construct_document(root), root)
    except yaml.MarkedYAMLError as error:
        raise SettingsError(f"{path}:{_line(error.problem_mark)}: file: not valid YAML: {_problem(error)}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter: a date or a number that is none
        raise SettingsError(f"{path}:1: file: not valid YAML: {_first_line(error)}") from None
    finally:
        loader.dispose()


def _loader(path: Path) -> yaml.SafeLoader:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SettingsError(f"{path}:1: file: is over {MAX_BYTES // 1024} KiB, which no catalogue needs")
        return _Loader(data.decode("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SettingsError(f"{path}:{line}: file: is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}:1: file: not valid YAML: {_first_line(error)}") from None


def _faults(path: Path, root: yaml.Node) -> list[str]:
    """The faults of the nodes: wrong keys, or too many values."""
    faults = []
    for count, (keys, node) in enumerate(_walk(root, ()), start=1):
        if count > MAX_VALUES:
            return [f"{path}:{_line(node.start_mark)}: file: stands for over {MAX_VALUES} values, aliases written out"]
        if len(keys) > MAX_DEPTH:
            return [
                f"{path}:{_line(node.start_mark)}: file: is nested over {MAX_DEPTH} levels deep, or contains itself"
            ]
        faults += [
            f"{path}:{_line(key.start_mark)}: {'.'.join(map(str, (*keys, _text(key))))}: {message}"
            for key, message in _wrong_keys(node)
        ]
    return faults


def _walk(node: yaml.Node, keys: tuple[Key, ...]) -> Iterator[tuple[tuple[Key, ...], yaml.Node]]:
    """Every value with its keys, aliases followed, one level deeper than is read."""
    yield keys, node
    if len(keys) > MAX_DEPTH:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _walk(value, (*keys, _text(key)))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*keys, index))


def _wrong_keys(node: yaml.Node) -> Iterator[tuple[yaml.Node, str]]:
    """The keys of a mapping that are duplicates or not text, with the fault."""
    seen: dict[str, int] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.tag not in _KEY_TAGS:
            yield key, "a key must be text; a number or a word such as `yes` needs quotation marks"
        elif key.value in seen:
            yield key, f"duplicate key, first in line {seen[key.value]}"
        else:
            seen[key.value] = _line(key.start_mark)


def _child(node: yaml.Node, key: Key) -> tuple[int, yaml.Node] | None:
    """Line and node of what `key` names in `node`."""
    if isinstance(node, yaml.MappingNode):
        return next(((_line(k.start_mark), v) for k, v in node.value if k.value == str(key)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        found = node.value[key]
        return _line(found.start_mark), found
    return None


def _text(key: yaml.Node) -> str:
    return str(key.value) if isinstance(key, yaml.ScalarNode) else "?"


def _line(mark: yaml.Mark | None) -> int:
    return mark.line + 1 if mark else 1


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "unreadable"
    return f"{problem}; indent with spaces, not with tabs" if "'\\t'" in problem else _shortened(problem)


def _first_line(error: Exception) -> str:
    return _shortened(str(error).partition("\n")[0])


def _shortened(problem: str) -> str:
    """A message of PyYAML, which repeats what it read."""
    return problem if len(problem) <= MAX_MESSAGE_CHARACTERS else f"{problem[:MAX_MESSAGE_CHARACTERS]}…"
