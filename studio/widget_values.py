"""The form's values by widget: saved after each drawing, and restored later.

They are restored after a refresh, or from a result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import streamlit as st

from studio.runs import Values

_OF_ALL = ("experiment", "language", "prompt", "seed", "seed-how", "notify")
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


def _is_of_the_form(key: str, own: tuple[str, ...]) -> bool:
    return key in _OF_ALL or key.startswith("feature-") or (key.startswith(own) and not key.endswith(_NOT_TO_BE_SET))
