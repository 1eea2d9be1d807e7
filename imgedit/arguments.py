"""Check a caller's arguments.

A wrong one is a TypeError or a ValueError that names the option, its range and its value. The server judges ranges that
differ by feature. A number that no request can hold is refused here.
"""

from __future__ import annotations

import reprlib
from numbers import Integral, Real
from typing import Any

INT32 = (-(2**31), 2**31 - 1)
UINT32 = (0, 2**32 - 1)
"""The integers that a field of a message can hold."""

MAX_TIMEOUT = 31_536_000
"""Seconds in a year. gRPC and threads take no infinite timeout."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def text(name: str, value: Any, expected: str = "a str") -> str | None:
    """A text; None is left out."""
    return None if value is None else needed_text(name, value, expected)


def needed_text(name: str, value: Any, expected: str = "a str") -> str:
    """A text that cannot be left out."""
    if not isinstance(value, str):
        raise TypeError(_wrong(name, expected, value))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(_wrong(name, f"{expected} without lone surrogates", value)) from None
    return value


def whole(name: str, value: Any, expected: str, limits: tuple[int, int] = INT32) -> int | None:
    """A whole number, Python's or NumPy's; None is left out.

    expected: its range for people. limits: what the field of the message can hold.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(_wrong(name, f"a whole number, {expected}", value))
    found = int(value)
    if not limits[0] <= found <= limits[1]:
        raise ValueError(_wrong(name, f"a whole number, {expected}", value))
    return found


def number(name: str, value: Any, expected: str) -> float | None:
    """A number, Python's or NumPy's; None is left out.

    expected: its range for people.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(_wrong(name, f"a number, {expected}", value))
    try:
        return float(value)
    except OverflowError:
        raise ValueError(_wrong(name, f"a number, {expected}", value)) from None


def flag(name: str, value: Any) -> bool | None:
    """True or False, Python's or NumPy's; None is left out."""
    if value is None or isinstance(value, bool):
        return value
    if str(getattr(value, "dtype", "")) == "bool" and value.shape == ():
        return bool(value)
    raise TypeError(_wrong(name, "True or False", value))


def seconds(name: str, value: Any) -> float | None:
    """A timeout; None = no limit here."""
    expected = f"above 0 and at most {MAX_TIMEOUT:,} seconds, or None for no limit"
    found = number(name, value, expected)
    if found is not None and not 0 < found <= MAX_TIMEOUT:
        raise ValueError(_wrong(name, f"a number, {expected}", value))
    return found


def callback(name: str, value: Any) -> None:
    """Raise TypeError for a callback that cannot be called; None is left out."""
    if value is not None and not callable(value):
        raise TypeError(_wrong(name, "a function", value))


def _wrong(name: str, expected: str, value: Any) -> str:
    kind = "" if value is None or isinstance(value, Real) else f" ({type(value).__name__})"
    return f"{name} must be {expected}, is {_SHORT.repr(value)}{kind}"
