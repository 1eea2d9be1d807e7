"""A workflow as a graph, with checked values.

Links are followed backwards through reroutes and primitives. Nodes' classes come from a table; what nodes become is
decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from services.orchestrator.catalogue.comfyui.document import Link, Node, WorkflowError, plain, shown_value
from services.orchestrator.catalogue.comfyui.node_kinds import ENDS, KINDS, PRIMITIVES, Type, ValueType, is_reroute

MAX_FED = 5
"""Inputs that a message lists at most."""


class Graph:
    """The nodes of a workflow.

    A fault raises `WorkflowError`, which names node, field and value.
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes

    @property
    def nodes(self) -> list[Node]:
        """All of them, by their place in the file."""
        return [*self._nodes.values()]

    def end(self, chosen: str | None) -> Node:
        """The node that saves the result.

        chosen: its id, where a workflow saves several pictures.
        """
        if chosen is not None:
            return self._chosen_end(chosen)
        saves = [node for node in self._nodes.values() if node.kind == "SaveImage"]
        if not saves:
            raise WorkflowError("\n".join(self._without_save()))
        results = {self._origin(node): node for node in reversed(saves)}
        painted = [node for node in results.values() if self._is_painted(node)]
        if len(results) > 1 and len(painted) != 1:
            names = ", ".join(shown_value(node.id) for node in saves)
            raise WorkflowError(
                f"there are {len(saves)} SaveImages of different pictures: nodes {names}; say with --save-node ID "
                "which one saves the result"
            )
        return painted[0] if painted else next(iter(results.values()))

    def _without_save(self) -> Iterator[str]:
        """Faults of a workflow without a SaveImage, and of its unknown nodes."""
        previews = [node for node in self._nodes.values() if node.kind == "PreviewImage"]
        hint = f", or name a PreviewImage with --save-node {plain(previews[0].id)}" if previews else ""
        yield f"there is no SaveImage, from which a workflow is read backwards; add one{hint}"
        nodes = [*self._nodes.values()]
        yield from (fault for node in nodes for fault in self._unknown(node, nodes))

    def _chosen_end(self, chosen: str) -> Node:
        node = self._nodes.get(chosen)
        if node is None or node.kind not in ENDS:
            ends = ", ".join(shown_value(end.id) for end in self._nodes.values() if end.kind in ENDS) or "none"
            raise WorkflowError(f"--save-node {plain(chosen)}: is no {' or '.join(ENDS)}; there are {ends}")
        return node

    def _origin(self, end: Node) -> tuple[str, int] | None:
        """The origin of a node's picture; None if it is not linked."""
        found = self.source(end, "images")
        return (found[0].id, found[1]) if found else None

    def _is_painted(self, end: Node) -> bool:
        return any(node.kind.startswith("KSampler") for node in self.behind(end))

    def side_ends(self, end: Node) -> Iterator[Node]:
        """The other nodes that save or show a picture."""
        return (node for node in self._nodes.values() if node.kind in ENDS and node is not end)

    def behind(self, end: Node) -> list[Node]:
        """A node and its dependencies, in the file's order.

        Raises for links to nowhere and for cycles.
        """
        faults: list[str] = []
        state = {end.id: "open"}
        stack = [(end, self._links(end, faults))]
        while stack:
            node, links = stack[-1]
            for name, link in links:
                child = self._nodes[link.node]
                if state.get(child.id) == "open":
                    faults.append(f"{node}: {_named(name)}: leads back to {child}, so the workflow has no beginning")
                elif child.id not in state:
                    state[child.id] = "open"
                    stack.append((child, self._links(child, faults)))
                    break
            else:
                state[node.id] = "done"
                stack.pop()
        if faults:
            raise WorkflowError("\n".join(faults))
        return [node for node in self._nodes.values() if node.id in state]

    def _links(self, node: Node, faults: list[str]) -> Iterator[tuple[str, Link]]:
        """The links of a node that lead somewhere; a fault for each other one."""
        for name, link in node.inputs.items():
            if not isinstance(link, Link):
                continue
            if link.node not in self._nodes:
                faults.append(f"{node}: {_named(name)}: is linked to node {shown_value(link.node)}, which is not there")
            else:
                yield name, link

    def check(self, end: Node) -> None:
        """Raise for unknown nodes behind `end`, and for wrong inputs of known ones."""
        nodes = self.behind(end)
        faults = [fault for node in nodes for fault in self._unknown(node, nodes)]
        faults = faults or [fault for node in nodes for fault in self._wrong_inputs(node)]
        if faults:
            raise WorkflowError("\n".join(faults))

    def _unknown(self, node: Node, among: list[Node]) -> Iterator[str]:
        if node.kind in KINDS or node.kind in PRIMITIVES or is_reroute(node.kind):
            return
        fed = [
            f"{_named(name)} of {user}"
            for user in among
            for name, link in user.inputs.items()
            if isinstance(link, Link) and link.node == node.id
        ]
        told = ", ".join(fed[:MAX_FED]) or "no other node"
        more = f" and {len(fed) - MAX_FED} more" if len(fed) > MAX_FED else ""
        yield f"{node}: class_type: no such node is known here; it feeds {told}{more}"

    def _wrong_inputs(self, node: Node) -> Iterator[str]:
        kind = KINDS.get(node.kind)
        if kind is None:
            yield from self._wrong_helper(node)
            return
        for name, type in {**kind.links, **kind.optional_links}.items():
            value = node.inputs.get(name)
            if value is None and name in kind.optional_links:
                continue
            if not isinstance(value, Link):
                found = f"is {shown_value(value)}" if name in node.inputs else "is missing"
                yield f'{node}: {name}: must be a link to {type}, such as ["4", 0], {found}'
            elif fault := self._wrong_type(value, type):
                yield f"{node}: {name}: {fault}"
        for name in kind.values:
            if name not in node.inputs:
                yield f"{node}: {name}: is missing"

    def _wrong_helper(self, node: Node) -> Iterator[str]:
        """A reroute has one link, a primitive one value."""
        if node.kind in PRIMITIVES and "value" not in node.inputs:
            yield f"{node}: value: is missing"
        if is_reroute(node.kind):
            links = [value for value in node.inputs.values() if isinstance(value, Link)]
            if len(links) != 1:
                yield f"{node}: inputs: must hold one link, hold {len(links)}"

    def _wrong_type(self, link: Link, type: Type) -> str | None:
        """The fault of a link where a `type` is required."""
        node, output = self._followed(link)
        kind = KINDS.get(node.kind)
        if kind is None:
            return f"must be a link to {type}, is linked to {node}, which gives a value"
        if not 0 <= output < len(kind.outputs):
            count = len(kind.outputs)
            outputs = f"has {count} outputs, from 0" if count != 1 else "has output 0 alone"
            return f"is linked to output {output} of {node}, which {outputs if count else 'has no output'}"
        if kind.outputs[output] != type:
            return f"must be a link to {type}, is linked to {kind.outputs[output]}, output {output} of {node}"
        return None

    def _followed(self, link: Link) -> tuple[Node, int]:
        """Where a link ends behind all reroutes."""
        node, output = self._nodes[link.node], link.output
        seen = {node.id}
        while is_reroute(node.kind):
            inner = next((value for value in node.inputs.values() if isinstance(value, Link)), None)
            if inner is None or inner.node not in self._nodes or inner.node in seen:
                break  # reported as a separate fault
            node, output = self._nodes[inner.node], inner.output
            seen.add(node.id)
        return node, output

    def strange_inputs(self, end: Node) -> Iterator[str]:
        """A note for each unknown input of a known node; ComfyUI ignores them, too."""
        for node in self.behind(end):
            kind = KINDS.get(node.kind)
            if kind is None:
                continue
            known = {*kind.links, *kind.optional_links, *kind.values, *kind.optional_values, *kind.without_part}
            for name in node.inputs:
                if name not in known:
                    yield f"{node}: {_named(name)} is left out: no such input is known here"

    def source(self, node: Node, name: str) -> tuple[Node, int] | None:
        """The node and the output that an input is linked to; None where it is not linked."""
        link = node.inputs.get(name)
        if not isinstance(link, Link):
            return None
        if link.node not in self._nodes:
            raise WorkflowError(
                f"{node}: {_named(name)}: is linked to node {shown_value(link.node)}, which is not there"
            )
        return self._followed(link)

    def linked(self, node: Node, name: str) -> tuple[Node, int]:
        """The node and the output that an input which must be linked is linked to."""
        found = self.source(node, name)
        if found is None:
            raise self.refused(node, name, "must be a link, is none")
        return found

    def value(self, node: Node, name: str) -> Any:
        """The value of an input, or of its linked primitive; None if it is missing."""
        found = node.inputs.get(name)
        if not isinstance(found, Link):
            return found
        source, _ = self._followed(found)
        if source.kind not in PRIMITIVES:
            raise self.refused(node, name, f"must be a value, is linked to {source}")
        return self.value(source, "value")

    def text(self, node: Node, name: str) -> str:
        """A text."""
        return str(self._typed(node, name, "text"))

    def whole(self, node: Node, name: str, least: int, most: int) -> int:
        """A whole number in a range."""
        found = int(self._typed(node, name, "whole"))
        if not least <= found <= most:
            limits = f"{least} to {most}" if least < most else f"{least}"
            raise self.refused(node, name, f"must be {limits}, is {shown_value(found)}")
        return found

    def number(self, node: Node, name: str, least: float, most: float) -> float:
        """A number in a range."""
        found = float(self._typed(node, name, "number"))
        if not least <= found <= most:
            raise self.refused(node, name, f"must be {least:g} to {most:g}, is {shown_value(found)}")
        return found

    def switch(self, node: Node, name: str) -> bool:
        """On or off; off where it is missing."""
        return bool(self._typed(node, name, "switch")) if name in node.inputs else False

    def _typed(self, node: Node, name: str, type: ValueType) -> Any:
        value = self.value(node, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_finite = is_number and abs(value) < 2**128 and math.isfinite(value)
        fits = {
            "text": isinstance(value, str),
            "switch": isinstance(value, bool),
            "number": is_finite,
            "whole": is_finite and value == int(value),
        }
        if fits[type]:
            return value
        needed = {"text": "a text", "whole": "a whole number", "number": "a number", "switch": "true or false"}[type]
        raise self.refused(node, name, f"must be {needed}, is {shown_value(value)}")

    def refused(self, node: Node, name: str, message: str) -> WorkflowError:
        """The error for an input."""
        return WorkflowError(f"{node}: {_named(name)}: {message}")


def _named(name: str) -> str:
    """An input's name for people; that of a reroute may be empty."""
    return plain(name) if name.strip() else "its input"
