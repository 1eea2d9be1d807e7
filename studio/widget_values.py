"""The form's values by widget: saved after each drawing, and restored later.

They are restored after a refresh, or from a result. The catalogue may have changed since: a number is then moved into
its new range, and a choice that is no longer offered is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import streamlit as st

from studio.runs import Values

N = TypeVar("N", int, float)

_OF_ALL = ("experiment", "language", "n", "prompt", "seed", "seed-how", "notify")
_NOT_TO_BE_SET = ("advanced", "brush", "mask-ask", "mask-box", "mask-file", "negative", "references")
"""Ends of the keys of boxes, buttons, uploaders and the brush: Streamlit lets nobody set them."""


def entered_values(experiments: Iterable[str]) -> Values:
    """The values of the form's widgets as they are now."""
    state: Mapping[Any, Any] = st.session_state
    own = tuple(f"{experiment}-" for experiment in experiments)
    return {
        key: value
        for key, value in state.items()
        if isinstance(key, str) and isinstance(value, str | int | float | bool | list) and _is_of_the_form(key, own)
    }


def restore_values(values: Values) -> None:
    """Enter them; before the widgets are drawn."""
    for key, value in values.items():
        st.session_state[key] = value


def fit_number(key: str, low: N, high: N) -> tuple[float, N] | None:
    """Move the value of a widget into its range, before the widget is drawn.

    Returns the value of before and the new one if it was outside; None if there is nothing to tell. The type is that of
    the range.
    """
    if key not in st.session_state:
        return None
    value = st.session_state[key]
    fitted = fitted_number(value, low, high)
    if fitted is None:
        del st.session_state[key]
        return None
    st.session_state[key] = fitted
    return None if fitted == value else (float(value), fitted)


def fitted_number(value: object, low: N, high: N) -> N | None:
    """The nearest number of the range, in the type of its ends.

    None if the value is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # NaN
        return None
    return type(low)(min(max(value, low), high))


def drop_unless_offered(key: str, offered: Iterable[object]) -> None:
    """Forget a choice that is no longer offered, before its widget is drawn."""
    if key in st.session_state and st.session_state[key] not in (None, *offered):
        del st.session_state[key]


def _is_of_the_form(key: str, own: tuple[str, ...]) -> bool:
    return key in _OF_ALL or key.startswith("feature-") or (key.startswith(own) and not key.endswith(_NOT_TO_BE_SET))
