"""Widgets for parameters, drawn from their specs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from imgedit.v1 import edit_pb2
from studio import widget_values
from studio.catalogue import Form, default_of
from studio.text import Words, plain


def name_of(words: Words, spec: edit_pb2.ParameterSpec) -> str:
    """The display name of a parameter."""
    found = words.named("parameter", spec.name)
    return plain(found) if found == spec.name else found


def help_of(words: Words, spec: edit_pb2.ParameterSpec) -> str:
    """The server's help text."""
    return plain(spec.help.get(words.language, ""))


def draw_field(words: Words, form: Form, spec: edit_pb2.ParameterSpec) -> Any:
    """The widget for a parameter's type.

    Returns its value, or None if unchanged.
    """
    match spec.type:
        case edit_pb2.PARAMETER_TYPE_INTEGER | edit_pb2.PARAMETER_TYPE_NUMBER:
            return number_field(words, form, spec)
        case edit_pb2.PARAMETER_TYPE_ENUM:
            return choice_field(words, form, spec)
        case edit_pb2.PARAMETER_TYPE_BOOLEAN:
            return switch_field(words, form, spec)
        case edit_pb2.PARAMETER_TYPE_TEXT:
            return text_field(words, form, spec)
    return None  # images and messages have their own forms


def number_field(
    words: Words, form: Form, spec: edit_pb2.ParameterSpec, *, default: float | None = None, suffix: str = ""
) -> float | None:
    """A slider over the range with the recommended part marked.

    None = the default, which is `default` if given.
    """
    is_whole = spec.type == edit_pb2.PARAMETER_TYPE_INTEGER
    kind = int if is_whole else float
    start = kind(default) if default is not None else start_of(spec)
    key = form.key(spec.name) + suffix
    low, high = spec.range.min, spec.range.max
    is_wide = high - low > 2
    moved = widget_values.fit_number(key, kind(low), kind(high))
    if moved is not None:
        old, new = map(number_text, moved)
        limits = {"low": number_text(low), "high": number_text(high)}
        st.toast(words("moved", name=name_of(words, spec), old=old, new=new, **limits), icon=":material/info:")
    with st.container(key=f"slider-{key}", gap=None):
        value = st.slider(
            name_of(words, spec),
            kind(low),
            kind(high),
            start,
            step=1 if is_whole else 0.1 if is_wide else 0.01,
            format=None if is_whole else "%.1f" if is_wide else "%.2f",
            help=help_of(words, spec),
            key=key,
            persist_state="session",
        )
        _mark_recommended(words, spec, f"slider-{key}")
    return None if value == start else value


def start_of(spec: edit_pb2.ParameterSpec) -> float:
    """The start value of a slider: the default, or the minimum.

    An integer if the parameter is one.
    """
    default = default_of(spec)
    number = default if isinstance(default, int | float) else spec.range.min
    return int(number) if spec.type == edit_pb2.PARAMETER_TYPE_INTEGER else float(number)


def choice_field(words: Words, form: Form, spec: edit_pb2.ParameterSpec) -> str | None:
    """A choice of names; None = the default."""
    default = default_of(spec)
    widget_values.drop_unless_offered(form.key(spec.name), spec.choices.names)
    value = st.segmented_control(
        name_of(words, spec),
        list(spec.choices.names),
        default=str(default) if default in spec.choices.names else None,
        format_func=lambda name: words.named("choice", name),
        help=help_of(words, spec),
        key=form.key(spec.name),
        persist_state="session",
    )
    return None if value is None or value == default else value


def switch_field(words: Words, form: Form, spec: edit_pb2.ParameterSpec) -> bool | None:
    """On or off; None = the default."""
    default = bool(default_of(spec))
    value = st.toggle(
        name_of(words, spec),
        default,
        help=help_of(words, spec),
        key=form.key(spec.name),
        persist_state="session",
    )
    return None if value == default else value


def text_field(words: Words, form: Form, spec: edit_pb2.ParameterSpec) -> str | None:
    """A text; None = empty."""
    value = st.text_input(
        name_of(words, spec),
        max_chars=spec.length.max or None,
        help=help_of(words, spec),
        key=form.key(spec.name),
        persist_state="session",
    )
    return value or None


def set_option(options: dict[str, Any], name: str, value: Any) -> None:
    """An optional value; None = the default."""
    if value is not None:
        options[name] = value


def number_text(value: float) -> str:
    """A number for display."""
    return f"{value:g}"


def _mark_recommended(words: Words, spec: edit_pb2.ParameterSpec, container: str) -> None:
    """A green band below the slider, and its numbers as text.

    The style contains only numbers of the spec.
    """
    limits = spec.range
    if not limits.HasField("recommended_min"):
        return
    low, high = limits.recommended_min, limits.recommended_max
    left = 100 * (low - limits.min) / (limits.max - limits.min)
    width = max(1.5, 100 * (high - low) / (limits.max - limits.min))
    st.html(
        f"<style>.st-key-{container}{{--from:{min(left, 98.5):.2f}%;--part:{width:.2f}%}}</style>"
        '<div class="recommended" aria-hidden="true"><i></i></div>'
    )
    key = "recommended" if high > low else "recommended.one"
    with st.container(key=f"hint-{container}"):
        st.markdown(f":green[{words(key, low=number_text(low), high=number_text(high))}]")
