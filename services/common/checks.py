"""Checks of prompts, numbers and LoRAs that name field, value and range."""

from __future__ import annotations

import difflib
import math
import unicodedata
from collections.abc import Callable, Collection, Iterable
from typing import ParamSpec

from imgedit.errors import MAX_QUOTED_CHARACTERS, InvalidArgument, PromptRejected, Violation, quoted
from imgedit.v1 import lora_pb2
from services.common import texts

P = ParamSpec("P")

MAX_PROMPT_CHARACTERS = 2000
MAX_PROMPT_CODE_POINTS = 8 * MAX_PROMPT_CHARACTERS
"""Of a prompt as it comes, which is not looked at where it has more. A Hangul syllable in single letters has three."""

MAX_LORAS = 3
MAX_SCALE = 4.0
DEFAULT_SCALE = 1.0

Scales = tuple[tuple[str, float], ...]
"""LoRAs of a request: names and strengths."""


class Together:
    """Runs independent checks and raises all their faults as one error."""

    def __init__(self) -> None:
        self._found: list[InvalidArgument] = []

    def check(self, check: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Run a check; a fault is kept until `end`. Returns whether there is none."""
        try:
            check(*args, **kwargs)
        except InvalidArgument as error:
            self._found.append(error)
            return False
        return True

    def end(self) -> None:
        """Raise the faults, if any: one `InvalidArgument` that names each field once."""
        if not self._found:
            return
        violations: dict[str, Violation] = {}
        for fault in (fault for error in self._found for fault in error.violations):
            violations.setdefault(fault.field, fault)
        if len(violations) == 1:
            raise self._found[0]
        raise InvalidArgument(
            "; ".join(f"{fault.field}: {fault.description}" for fault in violations.values()),
            korean=" ".join(dict.fromkeys(error.korean for error in self._found)),
            violations=[*violations.values()],
        )


def number(field: str, value: float, minimum: float, maximum: float) -> None:
    """Raise `InvalidArgument` unless `value` is a finite number in [minimum, maximum]."""
    if math.isfinite(value) and minimum <= value <= maximum:
        return
    raise InvalidArgument.field(
        field,
        f"must be {minimum:g} to {maximum:g}, is {_shown(value)}",
        korean=f"{field} 값은 {minimum:g}~{maximum:g} 범위여야 합니다(받은 값: {_shown(value)}).",
    )


def _shown(value: float) -> str:
    """A whole number in full, another in six digits."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def prompt(field: str, text: str, *, may_be_blank: bool = False) -> None:
    """Raise `PromptRejected` for text over 2000 characters, or forbidden blank text.

    Characters are counted in composed form, without invisible ones.
    """
    if len(text) > MAX_PROMPT_CODE_POINTS:
        raise _too_long(field, len(text))
    if not may_be_blank and not texts.comparable(text).strip():
        raise PromptRejected(
            f"{field}: must not be empty; say what to do, for instance 'a bright modern gym'",
            korean="프롬프트를 입력하세요. 예: '배경을 현대적인 체육관으로 변경'",
            violations=[Violation(field, "must not be empty")],
        )
    length = len(texts.normal(text))
    if length > MAX_PROMPT_CHARACTERS:
        raise _too_long(field, length)


def _too_long(field: str, length: int) -> PromptRejected:
    description = f"must have at most {MAX_PROMPT_CHARACTERS} characters, has {length}"
    return PromptRejected(
        f"{field}: {description}",
        korean=f"프롬프트는 {MAX_PROMPT_CHARACTERS}자까지입니다(받은 길이: {length}자).",
        violations=[Violation(field, description)],
    )


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
    together = Together()
    seen: set[str] = set()
    for index, use in enumerate(uses):
        name = unicodedata.normalize("NFC", use.name)
        together.check(_check_name, index, name, seen)
        together.check(number, f"loras[{index}].scale", _scale(use), -MAX_SCALE, MAX_SCALE)
        seen.add(name)
    together.end()
    return tuple((unicodedata.normalize("NFC", use.name), _scale(use)) for use in uses)


def check_known(names: Iterable[str], known: Collection[str]) -> None:
    """Raise `InvalidArgument` for unknown names.

    Each is named with the nearest known one.
    """
    together = Together()
    for index, name in enumerate(names):
        together.check(_check_known, index, name, known)
    together.end()


def _scale(use: lora_pb2.LoraUse) -> float:
    return use.scale if use.HasField("scale") else DEFAULT_SCALE


def _check_name(index: int, name: str, seen: Collection[str]) -> None:
    if not name:
        raise InvalidArgument.field(f"loras[{index}].name", "must not be empty; ListExperiments has the names")
    if name in seen:
        raise InvalidArgument.field(f"loras[{index}].name", f"{quoted(name)} is named twice; name each LoRA once")


def _check_known(index: int, name: str, known: Collection[str]) -> None:
    if name in known:
        return
    nearest = next(iter(difflib.get_close_matches(name[:MAX_QUOTED_CHARACTERS], sorted(known), 1, 0.0)), None)
    if nearest is None:
        description, korean = "this server has no LoRAs for this feature", "이 기능에 쓸 수 있는 LoRA가 없습니다."
    else:
        description = f"no LoRA of this feature is called {quoted(name)}; the nearest is {nearest!r}"
        korean = f"{quoted(name)}라는 LoRA가 없습니다. 가장 비슷한 이름은 {nearest!r}입니다."
    raise InvalidArgument.field(f"loras[{index}].name", description, korean=korean)
