"""The valid orders of stages in a chain."""

from __future__ import annotations

from collections.abc import Sequence

from services.orchestrator.catalogue.faults import fault

PAINTERS = ("fill", "qwen_edit")

FINISHING: tuple[str, ...] = ()
"""Stages behind the last composite, which work on the whole result. They may change any pixel of the result."""


def check(kinds: Sequence[str]) -> None:
    """Raise a fault of the field `stages` for an invalid order."""
    if not set(PAINTERS) & set(kinds):
        _check_unpainted(kinds)
        return
    for kind in ("segment", "extend", "rewrite_prompt"):
        if kinds.count(kind) > 1:
            raise _at(len(kinds) - 1 - kinds[::-1].index(kind), f"a chain has one {kind} at most")
    while kinds and kinds[-1] in FINISHING:
        kinds = kinds[:-1]
    if kinds[-1] != "composite":
        raise fault("a chain that paints ends with composite", "stages")
    for index, kind in enumerate(kinds):
        _check_stage(kind, index, kinds[:index])


def _check_unpainted(kinds: Sequence[str]) -> None:
    """Check a chain that only cuts out: segment, then optionally mask."""
    if list(kinds) not in (["segment"], ["segment", "mask"]):
        raise fault(
            "a chain has fill or qwen_edit, which paint; one that only cuts the subject out is [segment] or "
            "[segment, mask]",
            "stages",
        )


def _check_stage(kind: str, index: int, before: Sequence[str]) -> None:
    painted = [stage for stage in before if stage in (*PAINTERS, "composite")]
    since_composite = before[len(before) - before[::-1].index("composite") :] if "composite" in before else before
    match kind:
        case "segment" if "mask" in before:
            raise _at(index, "segment must precede the mask that is taken from it")
        case "mask" | "extend" if {"mask", "extend"} & set(before) - {kind}:
            raise _at(index, "mask and extend do not go together: each makes the mask")
        case "extend" if painted:
            raise _at(index, "extend must precede everything that paints")
        case "rewrite_prompt" if painted:
            raise _at(index, "rewrite_prompt must precede everything that paints")
        case "fill" | "qwen_edit" if painted and painted[-1] != "composite":
            raise _at(index, f"a composite stands between {painted[-1]} and {kind}")
        case "fill" if not {"mask", "extend"} & set(since_composite):
            raise _at(index, "fill needs a mask or extend before it, since the last composite")
        case "composite" if not painted or painted[-1] == "composite":
            raise _at(index, "composite stands after a stage that paints")


def _at(index: int, message: str) -> Exception:
    return fault(message, "stages", index)
