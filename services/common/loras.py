"""The LoRAs that a request names: their number, names and strengths, checked."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Iterable

from imgedit.errors import InvalidArgument
from imgedit.v1 import lora_pb2
from services.common import checks

MAX_LORAS = 3
MAX_SCALE = 4.0
DEFAULT_SCALE = 1.0

Scales = tuple[tuple[str, float], ...]
"""LoRAs of a request: names and strengths."""

_SHOWN = 80
"""Characters of a caller's name that an error repeats."""


def read_loras(uses: Collection[lora_pb2.LoraUse]) -> Scales:
    """Names in composed form and strengths, in the request's order.

    Raises `InvalidArgument` that names every entry at fault. Whether a LoRA exists is checked by `check_known`.
    """
    if len(uses) > MAX_LORAS:
        raise InvalidArgument.field(
            "loras",
            f"must hold at most {MAX_LORAS}, holds {len(uses)}",
            korean=f"LoRA는 {MAX_LORAS}개까지 쓸 수 있습니다(받은 개수: {len(uses)}).",
        )
    together = checks.Together()
    seen: set[str] = set()
    for index, use in enumerate(uses):
        name = unicodedata.normalize("NFC", use.name)
        together.check(_check_name, index, name, seen)
        together.check(checks.number, f"loras[{index}].scale", _scale(use), -MAX_SCALE, MAX_SCALE)
        seen.add(name)
    together.end()
    return tuple((unicodedata.normalize("NFC", use.name), _scale(use)) for use in uses)


def check_known(names: Iterable[str], known: Collection[str]) -> None:
    """Raise `InvalidArgument` for unknown names.

    Each is named with the nearest known one.
    """
    together = checks.Together()
    for index, name in enumerate(names):
        together.check(_check_known, index, name, known)
    together.end()


def _scale(use: lora_pb2.LoraUse) -> float:
    return use.scale if use.HasField("scale") else DEFAULT_SCALE


def _check_name(index: int, name: str, seen: Collection[str]) -> None:
    if not name:
        raise InvalidArgument.field(f"loras[{index}].name", "must not be empty; ListExperiments has the names")
    if name in seen:
        raise InvalidArgument.field(f"loras[{index}].name", f"{_quoted(name)} is named twice; name each LoRA once")


def _check_known(index: int, name: str, known: Collection[str]) -> None:
    if name in known:
        return
    nearest = next(iter(difflib.get_close_matches(name[:_SHOWN], sorted(known), 1, 0.0)), None)
    if nearest is None:
        description, korean = "this server has no LoRAs for this feature", "이 기능에 쓸 수 있는 LoRA가 없습니다."
    else:
        description = f"no LoRA of this feature is called {_quoted(name)}; the nearest is {nearest!r}"
        korean = f"{_quoted(name)}라는 LoRA가 없습니다. 가장 비슷한 이름은 {nearest!r}입니다."
    raise InvalidArgument.field(f"loras[{index}].name", description, korean=korean)


def _quoted(name: str) -> str:
    return repr(name[:_SHOWN])
