"""Crop and rotate the input before the edit, on the large image."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st

from imgedit.errors import ImageRejected, ImgeditError
from studio import components, errors, input_images
from studio.session import Session
from studio.text import Words


def show_cropping(words: Words, session: Session) -> bool:
    """Draw the tool if it is open; False if it is not."""
    if not session.is_cropping or len(session.inputs) != 1:
        return False
    [picture] = session.inputs
    components.arrive(key="sight-crop", place="sight")
    with st.container(border=True, key="card-crop"):
        st.header(words("crop"), anchor=False)
        state = components.crop(words, picture.view, picture.size, key="cropping")
        if state.closed:
            _close(session)
        if state.applied is not None:
            try:
                cut = input_images.cropped(picture, *parsed(state.applied), visit=session.visit)
            except ImgeditError as error:
                errors.show_error(words, error)
            else:
                session.choose(cut)
                _close(session)
    return True


def parsed(told: Any) -> tuple[int, input_images.Box]:
    """The browser's turns and part. Raises `ImageRejected` for anything else."""
    turns, box = (told.get(name) if isinstance(told, dict) else None for name in ("turns", "box"))
    is_box = isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box)
    if not (isinstance(turns, int) and 0 <= turns < 4 and isinstance(box, list) and is_box):
        raise ImageRejected(f"input_image: {told!r} is not a part of an image")
    left, top, right, bottom = (float(value) for value in box)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ImageRejected(f"input_image: {told!r} is not a part of an image")
    return turns, (left, top, right, bottom)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _close(session: Session) -> None:
    session.is_cropping = False
    st.rerun()
