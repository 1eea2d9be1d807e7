"""The edit form, drawn from the feature's parameters.

The server checks the values; the form only requires an image and a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from imgedit.request import EDIT_OPTIONS, EditOptions
from imgedit.values import Format, Output
from studio import fields, inputs, loras, prompt, region, sliders
from studio.catalogue import Form
from studio.input_images import InputImage
from studio.line import MOST_WAITING
from studio.repainted import Masking
from studio.session import Session
from studio.text import Words

PREVIEWS = 8
"""How many previews one edit sends, about."""


@dataclass
class EditForm:
    """The form's values: images and edit options.

    takes_prompt: whether the feature reads one. missing: what to do first, if anything. is_asked: the button was
    pressed with nothing missing. masking: the source of the mask, if the feature has one. beside_button: where the
    expected time goes.
    """

    inputs: list[InputImage] = field(default_factory=list)
    options: EditOptions | None = None
    takes_prompt: bool = True
    missing: str | None = None
    is_asked: bool = False
    masking: Masking | None = None
    beside_button: DeltaGenerator | None = None


def draw_form(words: Words, session: Session, form: Form) -> EditForm:
    """The whole form, the button last."""
    is_busy, is_full = session.run is not None, len(session.line.waiting) >= MOST_WAITING
    edit_form = EditForm(takes_prompt=form.has("prompt"))
    options: dict[str, Any] = {"experiment": form.experiment.id, "feature": form.feature.id}
    with st.container(border=True, key="card-picture"):
        edit_form.inputs = inputs.draw_inputs(words, session, form)
        inputs.draw_references(words, session, form, options)
    first = edit_form.inputs[0] if len(edit_form.inputs) == 1 else None
    if edit_form.takes_prompt or form.has("outpaint"):
        with st.container(border=True, key="card-prompt"):
            prompt.draw_prompt(words, form, options)
            region.draw_margins(words, form, options, first)
    with st.container(border=True, key="card-parameters"):
        sliders.draw_sliders(words, form, options, is_batch=len(edit_form.inputs) > 1)
        loras.draw_loras(words, form, options)
        edit_form.masking = region.draw_mask(words, form, options, first)
        _advanced(words, form, options)
    edit_form.options = cast("EditOptions", options)
    edit_form.missing = _missing(words, form, edit_form)
    with st.container(key="act"):
        above = st.empty()
        edit_form.beside_button = st.container(key="expected")
        edit_form.is_asked = _button(words, form, edit_form, is_busy=is_busy, is_full=is_full)
        if edit_form.is_asked and edit_form.missing:
            above.warning(edit_form.missing, icon=":material/edit_note:")
            edit_form.is_asked = False
    return edit_form


def _missing(words: Words, form: Form, edit_form: EditForm) -> str | None:
    needs_prompt = any(spec.name == "prompt" and spec.required for spec in form.feature.parameters)
    if not edit_form.inputs:
        return words("picture.none")
    options: dict[str, Any] = dict(edit_form.options or {})
    prompt = str(options.get("prompt") or "")
    longest = next((spec.length.max for spec in form.feature.parameters if spec.name == "prompt"), len(prompt))
    if len(prompt) > longest:
        return words("prompt.too_long", count=len(prompt), max=longest)
    return words("prompt.missing") if needs_prompt and not prompt else None


def _button(words: Words, form: Form, edit_form: EditForm, *, is_busy: bool, is_full: bool) -> bool:
    count = len(edit_form.inputs)
    what = words("edit") if count < 2 else words("edit.many", count=count)
    return st.button(
        words("edit.next", what=what) if is_busy else what,
        type="primary",
        icon=":material/auto_fix_high:",
        width="stretch",
        disabled=is_full or not form.feature.available,
        key="edit",
    )


def _advanced(words: Words, form: Form, options: dict[str, Any]) -> None:
    previews, output = form.take("preview_every"), form.take("output")
    if previews is not None:
        options["preview_every"] = max(1, round(options.get("steps", 28) / PREVIEWS))
    rest = [spec for spec in form.rest() if spec.name in EDIT_OPTIONS]  # a newer server may know more than this client
    if not rest and output is None:
        return
    with st.expander(words("advanced"), icon=":material/tune:", key=form.key("advanced")):
        for spec in rest:
            value = fields.draw_field(words, form, spec)
            if value is not None:
                options[spec.name] = _as_option(spec.name, value)
        if output is not None:
            _output(words, form, options)


def _as_option(name: str, value: Any) -> Any:
    """The client's option names that differ from the API's."""
    if name == "background":
        return value.removeprefix("BACKGROUND_").lower()
    return value != "POSTPROCESS_OFF" if name == "postprocess" else value


def _output(words: Words, form: Form, options: dict[str, Any]) -> None:
    names = ["OUTPUT_FORMAT_PNG", "OUTPUT_FORMAT_JPEG", "OUTPUT_FORMAT_WEBP"]
    chosen = st.segmented_control(
        words("output.format"),
        names,
        default=names[0],
        required=True,
        format_func=lambda name: words.named("choice", name),
        key=form.key("format"),
        persist_state="session",
    )
    if chosen == names[0]:
        return
    quality = st.slider(words("output.quality"), 50, 100, 95, key=form.key("quality"), persist_state="session")
    options["output"] = Output(format=cast("Format", chosen.removeprefix("OUTPUT_FORMAT_").lower()), quality=quality)
