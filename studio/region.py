"""The editable region: margins, and a mask by brush, from a file or from BEN2."""

from __future__ import annotations

from typing import Any

import streamlit as st
from google.protobuf.json_format import MessageToDict

from imgedit.errors import ImgeditError
from imgedit.imaging import images
from imgedit.values import Mask, Outpaint
from studio import components, errors, fields, input_images, repainted, session, widget_values
from studio.catalogue import Form
from studio.input_images import InputImage
from studio.repainted import Masking
from studio.text import Words

PRESETS = ("1:1", "4:3", "3:4", "16:9", "9:16")
ASPECTS = (*PRESETS, "21:9")
SIDES = ("left", "right", "top", "bottom")
MAX_MARGIN = 4096
"""Of one side, as at the API."""


def draw_margins(words: Words, form: Form, options: dict[str, Any], picture: InputImage | None) -> None:
    """How far to extend the picture, where the feature does; drawn on the picture."""
    spec = form.take("outpaint")
    if spec is None:
        return
    default = MessageToDict(spec.default.struct_value)  # the feature's, or none
    own = {side: int(length) for side, length in default.items()}
    choices = ["margins", "aspect"] if own else ["prompt", "margins", "aspect"]
    st.header(words("outpaint"), anchor=False)
    how = st.segmented_control(
        words("outpaint"),
        choices,
        default=choices[0],
        required=True,
        format_func=lambda name: words(f"outpaint.{name}"),
        key=form.key("outpaint-how"),
        label_visibility="collapsed",
        persist_state="session",
    )
    added: input_images.Margins | None = None
    if how == "prompt":
        st.caption(words("outpaint.by_words"))
    elif how == "aspect":
        aspect = st.pills(
            words("outpaint.aspect"), ASPECTS, default="16:9", required=True, key=form.key("aspect"),
            label_visibility="collapsed", persist_state="session",
        )  # fmt: skip
        options["outpaint"] = Outpaint(aspect=aspect)
        added = input_images.aspect_margins(picture.size, str(aspect)) if picture else None
    else:
        left, right, top, bottom = _margin_fields(words, form, own, picture)
        if own or left or right or top or bottom:
            options["outpaint"] = Outpaint(left=left, right=right, top=top, bottom=bottom)
        added = (left, right, top, bottom)
    if picture and added and any(added):
        _margins_preview(words, picture, added)


def _margin_fields(words: Words, form: Form, own: dict[str, int], picture: InputImage | None) -> input_images.Margins:
    """A number per side, and buttons that fill them in for an aspect.

    They start at the feature's own margins, or at 0.
    """
    if picture is not None:
        _presets(words, form, picture)
    found = []
    for pair in (SIDES[:2], SIDES[2:]):
        for side, column in zip(pair, st.columns(2), strict=True):
            key = form.key(f"margin-{side}")
            widget_values.fit_number(key, 0, MAX_MARGIN)
            found.append(
                column.number_input(
                    words(f"outpaint.{side}"), 0, MAX_MARGIN, own.get(side, 0), 16, key=key, persist_state="session"
                )
            )
    left, right, top, bottom = found
    return left, right, top, bottom


def _presets(words: Words, form: Form, picture: InputImage) -> None:
    """A button per aspect; disabled where the server would refuse the margins."""
    with st.container(gap="xsmall", key="presets"):
        st.caption(words("outpaint.fit"))
        with st.container(horizontal=True, gap="xsmall", key="presets-row"):
            for aspect in PRESETS:
                margins = input_images.aspect_margins(picture.size, aspect)
                fault = fault_of(picture.size, margins)
                st.button(
                    aspect,
                    key=f"preset-{aspect.replace(':', '-')}",
                    disabled=fault is not None,
                    help=fault and words(fault, max=MAX_MARGIN),
                    on_click=_fill_in,
                    args=(form, margins),
                )


def fault_of(size: tuple[int, int], margins: input_images.Margins) -> str | None:
    """Why an image of this size cannot get these margins, as the key of a text."""
    width, height = size[0] + margins[0] + margins[1], size[1] + margins[2] + margins[3]
    if not any(margins):
        return "outpaint.fit.already"
    if max(margins) > MAX_MARGIN:
        return "outpaint.fit.too_far"
    is_too_large = width * height > images.DEFAULT_MAX_PIXELS or max(width, height) > images.MAX_SIDE
    return "outpaint.fit.too_large" if is_too_large else None


def _fill_in(form: Form, margins: input_images.Margins) -> None:
    for side, margin in zip(SIDES, margins, strict=True):
        st.session_state[form.key(f"margin-{side}")] = margin


def _margins_preview(words: Words, picture: InputImage, margins: input_images.Margins) -> None:
    width, height = picture.width + margins[0] + margins[1], picture.height + margins[2] + margins[3]
    caption = words("outpaint.preview", width=width, height=height)
    with st.container(width=320, gap="xsmall", key="margins"):
        components.still(_margins_drawn(picture.thumb, picture.size, margins), alt=caption, key="margins-drawn")
        st.caption(caption)


@st.cache_data(show_spinner=False, max_entries=64)
def _margins_drawn(view: bytes, size: tuple[int, int], margins: input_images.Margins) -> bytes:
    return input_images.margins_drawn(view, size, margins, "#4338ca")


def draw_mask(words: Words, form: Form, options: dict[str, Any], picture: InputImage | None) -> Masking | None:
    """The source of the mask, and its options; None if the feature has no mask."""
    spec = form.take("mask_image")
    worked = [spec for spec in form.rest() if spec.name.startswith("mask_options.")]
    if spec is None and not worked:
        return None
    choices = ["brush", "upload"] if spec is not None and spec.required else ["auto", "brush", "upload"]
    with st.expander(words("mask"), icon=":material/brush:", key=form.key("mask-box")):
        how = st.segmented_control(
            words("mask.how"),
            choices,
            default=choices[0],
            required=True,
            format_func=lambda name: words(f"mask.{name}"),
            help=fields.help_of(words, spec) if spec is not None else None,
            key=form.key("mask-how"),
            persist_state="session",
        )
        if how == "brush":
            st.caption(words("mask.brush_where" if picture else "mask.needs_picture"))
            fields.set_option(options, "mask", repainted.brushed(words, form, picture))
        elif how == "upload":
            fields.set_option(options, "mask", _uploaded_mask(words, form, picture))
        _mask_options(words, form, options, is_own=how != "auto")
        is_asked = (
            how != "brush"
            and picture is not None
            and st.button(words("mask.ask"), icon=":material/visibility:", key=form.key("mask-ask"))
        )
    return Masking(form, picture, str(how), is_asked)


def _uploaded_mask(words: Words, form: Form, picture: InputImage | None) -> bytes | None:
    upload = st.file_uploader(words("mask.file"), key=form.key("mask-file"))
    visit = session.current()
    if upload is not None:
        visit.kept_mask = None
    mask = upload.getvalue() if upload is not None else visit.kept_mask
    visit.mask = mask
    if mask is None:
        return None
    if picture is not None:
        try:
            over = _mask_over(picture.view, mask, session.current().visit)
        except ImgeditError as error:
            errors.show_error(words, error)
            return None
        st.image(over, caption=words("mask.overlay"), alt=words("mask.overlay"), width=320)
    return mask


@st.cache_data(show_spinner=False, max_entries=8)
def _mask_over(view: bytes, mask: bytes, _visit: object) -> bytes:
    return input_images.mask_over(view, mask, _visit)


def _mask_options(words: Words, form: Form, options: dict[str, Any], *, is_own: bool) -> None:
    chosen: dict[str, Any] = {}
    for name in ("subject", "threshold", "grow_px", "feather_px", "fill_holes", "invert"):
        spec = form.take(f"mask_options.{name}")
        if spec is None or (is_own and name == "subject"):
            continue
        value = fields.draw_field(words, form, spec)
        if value is not None:
            chosen[name] = value.removeprefix("MASK_SUBJECT_").lower() if name == "subject" else value
    if chosen:
        options["mask_options"] = Mask(**chosen)
