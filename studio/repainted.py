"""The area to repaint: painted on the large image, or requested before the edit.

Every edit returns its mask, so the preview is an edit of one step.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, cast

import streamlit as st

from imgedit.errors import ImageRejected, ImgeditError
from imgedit.request import EditOptions
from imgedit.v1 import edit_pb2
from imgedit.values import Output
from studio import catalogue, components, errors, input_images
from studio.catalogue import Form
from studio.input_images import InputImage
from studio.session import Repainted, Session, current
from studio.text import Words

BRUSH_SIDE = 1280
"""Longest side of the picture that the brush works on, in pixels."""

ASK_SECONDS = 60
"""Timeout of a preview."""

PROMPT = "a mask"
"""The prompt of a preview, whose image is discarded. English needs no translation."""

ONE_STEP = 0.01
"""A strength that leaves one step of at most a hundred."""

_DECIDING = ("experiment", "feature", "mask", "mask_options", "background")
"""The options that determine the mask."""


@dataclass(frozen=True)
class Masking:
    """The form's source of the mask.

    how: auto, brush or upload. is_asked: the preview was requested.
    """

    form: Form
    picture: InputImage | None
    how: str
    is_asked: bool = False


def show_mask(words: Words, session: Session, masking: Masking | None, options: EditOptions | None) -> bool:
    """Draw the brush or the preview on the large image; False if there is neither."""
    if masking is None or masking.picture is None or options is None:
        return False
    if masking.how == "brush":
        components.arrive(key=f"sight-{_brush_key(masking.form)}", place="sight")
        with st.container(border=True, key="card-mask"):
            _brush(words, session, masking.form, masking.picture)
        return True
    if masking.is_asked:
        _ask(words, session, masking.form, masking.picture, options)
    found = session.repainted
    if found is None or found.key != _key(masking.picture, options):
        return False
    with st.container(border=True, key="card-mask"):
        components.still(found.view, alt=words(found.caption), key="repainted")
        st.caption(words(found.caption))
    return True


def brushed(words: Words, form: Form, picture: InputImage | None) -> bytes | None:
    """The brush's mask at the image's size, if any."""
    state: Any = st.session_state.get(_brush_key(form))
    drawn = str(state.get("mask") or "") if state else ""
    id, _, url = drawn.rpartition(" ")
    if picture is None or not drawn or id != _identity(picture):  # drawn on another image
        return None
    try:
        return _mask_at(base64.b64decode(url.partition(",")[2]), picture.size, current().visit)
    except (ImgeditError, binascii.Error) as error:
        errors.show_error(words, error if isinstance(error, ImgeditError) else ImageRejected(f"mask_image: {error}"))
        return None


@st.fragment
def _brush(words: Words, session: Session, form: Form, picture: InputImage) -> None:
    """The brush as a fragment: a stroke redraws nothing else."""
    scale = min(1.0, BRUSH_SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    asked = components.asked(key=_brush_key(form))
    if asked and (session.brush_base is None or session.brush_base[0] != asked):
        session.brush_base = asked, _layer(words, form, picture)
    drawn = components.brush(
        words,
        picture.view,
        size,
        id=_identity(picture),
        key=_brush_key(form),
        base=session.brush_base,
    )
    if not drawn.startswith(_identity(picture)):
        st.caption(words("mask.empty"))


def _layer(words: Words, form: Form, picture: InputImage) -> bytes | None:
    """The feature's automatic mask as a layer for the brush."""
    options: dict[str, Any] = {"experiment": form.experiment.id, "feature": form.feature.id}
    if any(spec.name == "background" for spec in form.feature.parameters):
        options["background"] = "keep"  # the whole image has no mask
    try:
        mask = _mask(form, picture, cast("EditOptions", options))
    except ImgeditError as error:
        errors.show_error(words, error)
        return None
    return input_images.layer(mask, BRUSH_SIDE) if mask else None


def _ask(words: Words, session: Session, form: Form, picture: InputImage, options: EditOptions) -> None:
    session.repainted = None
    try:
        with st.spinner(words("mask.asking")):
            mask = _mask(form, picture, options)
    except ImgeditError as error:
        errors.show_error(words, error)
        return
    view = input_images.reddened(picture.view, mask)
    session.repainted = Repainted(_key(picture, options), view, "mask.overlay" if mask else "mask.whole")


def _mask(form: Form, picture: InputImage, options: EditOptions) -> bytes | None:
    """The mask of the edit, None = the whole image. Raises `ImgeditError`."""
    asked = {name: value for name, value in options.items() if name in _DECIDING}
    question = cast("EditOptions", {**asked, **_one_step(form), "output": Output(omit=("cutout",))})
    answer = catalogue.client().edit(picture.data, timeout=ASK_SECONDS, **question)
    return None if answer.effective.mask_source == edit_pb2.MASK_SOURCE_WHOLE else answer.mask_image


def _one_step(form: Form) -> dict[str, Any]:
    """The least work that the feature's ranges allow."""
    specs = {spec.name: spec for spec in form.feature.parameters}
    found: dict[str, Any] = {"prompt": PROMPT} if "prompt" in specs else {}
    if "steps" in specs:
        found["steps"] = max(1, int(specs["steps"].range.min))
    if "strength" in specs:
        found["strength"] = max(specs["strength"].range.min, ONE_STEP)
    return found


def _key(picture: InputImage, options: EditOptions) -> tuple[object, ...]:
    """Differs if the mask may differ."""
    values: dict[str, Any] = dict(options)
    return _identity(picture), *(hash(values.get(name)) for name in _DECIDING)


def _brush_key(form: Form) -> str:
    return form.key("brush")


def _identity(picture: InputImage) -> str:
    return f"{picture.name}-{picture.width}-{picture.height}-{hash(picture.thumb)}"


@st.cache_data(show_spinner=False, max_entries=8)
def _mask_at(drawn: bytes, size: tuple[int, int], _visit: object) -> bytes | None:
    return input_images.mask_at(drawn, size, max_side=BRUSH_SIDE, visit=_visit)
