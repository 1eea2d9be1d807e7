"""Range checks that name the field, the value and the range."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ParamSpec

from imgedit.errors import InvalidArgument, PromptRejected, Violation
from services.common import texts

P = ParamSpec("P")

MAX_PROMPT_CHARACTERS = 2000
MAX_PROMPT_CODE_POINTS = 8 * MAX_PROMPT_CHARACTERS
"""Of a prompt as it comes, which is not looked at where it has more. A Hangul syllable in single letters has three."""


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
        f"must be {minimum:g} to {maximum:g}, is {value:g}",
        korean=f"{field} 값은 {minimum:g}~{maximum:g} 범위여야 합니다(받은 값: {value:g}).",
    )


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
