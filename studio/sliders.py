"""Profile, sliders, seed and number of results."""

from __future__ import annotations

import secrets
from typing import Any

import streamlit as st

from imgedit.v1 import edit_pb2
from studio import fields, widget_values
from studio.catalogue import Form, default_of
from studio.text import Words

NUMBERS = ("steps", "guidance_scale", "strength")


def draw_sliders(words: Words, form: Form, options: dict[str, Any], *, is_batch: bool) -> None:
    """Profile, steps, guidance, strength, seed, results.

    An image of a batch has one result.
    """
    profile_spec = form.take("profile")
    specs = [spec for spec in map(form.take, NUMBERS) if spec is not None]
    seed, n = form.take("seed"), form.take("n")
    if not (profile_spec or specs or seed):
        return
    st.header(words("parameters"), anchor=False)
    profile = None
    if profile_spec is not None:
        profile = fields.choice_field(words, form, profile_spec)
        fields.set_option(options, "profile", profile and profile.removeprefix("PROFILE_").lower())
    name = profile or (str(default_of(profile_spec)) if profile_spec is not None else "")
    for spec in specs:
        fields.set_option(options, spec.name, _preset_number(words, form, spec, name))
    if seed is not None:
        _seed(words, form, seed, options)
    if n is not None and not is_batch:
        _results(words, n, options)


def _preset_number(words: Words, form: Form, spec: edit_pb2.ParameterSpec, profile: str) -> float | None:
    """A slider that starts at the profile's value.

    A profile's value outside the request's range is shown as text instead.
    """
    preset = form.presets.get(profile, {}).get(spec.name)
    suffix = f"-{profile}"
    if preset is None or spec.range.min <= preset <= spec.range.max:
        return fields.number_field(words, form, spec, default=preset, suffix=suffix)
    name = fields.name_of(words, spec)
    st.markdown(
        words("by_profile", name=name, value=fields.number_text(preset), profile=words.named("choice", profile))
    )
    if not st.toggle(words("by_profile.own", name=name), key=f"{form.key(spec.name)}{suffix}-own"):
        return None
    value = fields.number_field(words, form, spec, suffix=suffix)
    return fields.start_of(spec) if value is None else value  # explicit: unset is the profile's


def _seed(words: Words, form: Form, spec: edit_pb2.ParameterSpec, options: dict[str, Any]) -> None:
    """Random or fixed; a feature's own seed is the default."""
    own = default_of(spec)
    start, suffix = (42, "") if own is None else (int(own), f"-{form.key('seed')}")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        how = st.segmented_control(
            words("parameter.seed"),
            ["random", "fixed"],
            default="random" if own is None else "fixed",
            required=True,
            format_func=lambda name: words(f"seed.{name}"),
            help=fields.help_of(words, spec),
            key=f"seed-how{suffix}",
            persist_state="session",
        )
        if how == "fixed":
            options["seed"] = int(
                st.number_input(
                    words("seed.value"),
                    int(spec.range.min),
                    int(spec.range.max),
                    start,
                    1,
                    key=f"seed{suffix}",
                    persist_state="session",
                )
            )
        elif own is not None:
            options["seed"] = secrets.randbits(32)  # unset would be the feature's own


def _results(words: Words, spec: edit_pb2.ParameterSpec, options: dict[str, Any]) -> None:
    """How many results the edit makes, with one seed after the other."""
    counts = [*range(int(spec.range.min), int(spec.range.max) + 1)]
    widget_values.drop_unless_offered("n", counts)
    count = st.segmented_control(
        words("parameter.n"),
        counts,
        default=counts[0],
        required=True,
        help=fields.help_of(words, spec),
        key="n",
        persist_state="session",
    )
    if count is not None and count > 1:
        options["n"] = count
