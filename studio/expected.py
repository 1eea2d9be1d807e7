"""The expected time of the edit, beside its button.

Drawn last, and the wait for the answer is bounded and gives way to the next press, so it delays nothing.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, wait
from typing import Any, cast

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from imgedit.request import EditOptions
from imgedit.result import EditEstimate
from studio import catalogue, estimates
from studio.form import EditForm
from studio.session import Session
from studio.text import Words

LOOK_SECONDS = 20.0
"""Interval of a new question: the queue changes while a form is filled in."""

IDLE_SECONDS = 300.0
"""After so long without a press nothing is asked or shown: the page may be forgotten."""

PATIENCE_SECONDS = 1.0
"""Longest wait for an answer; a later one shows at the next look."""

STEP_SECONDS = 0.05


def show_expected(words: Words, session: Session, edit_form: EditForm) -> None:
    """Draw the time and the place in line.

    Nothing where the server cannot say, or the images differ in size.
    """
    sizes = {picture.size for picture in edit_form.inputs}
    asked: dict[str, Any] = dict(edit_form.options or {})
    if len(sizes) != 1 or not asked:
        return
    if edit_form.takes_prompt:
        asked.setdefault("prompt", estimates.PROMPTS[words.language])
    references = [picture.size for picture in session.references] if "references" in asked else []
    _look(words, sizes.pop(), len(edit_form.inputs), references, cast("EditOptions", asked), time.monotonic())


@st.fragment(run_every=LOOK_SECONDS)
def _look(
    words: Words,
    size: tuple[int, int],
    count: int,
    references: list[tuple[int, int]],
    options: EditOptions,
    drawn: float,
) -> None:
    """Ask and draw. drawn: when the page was."""
    place = st.empty()
    if time.monotonic() - drawn > IDLE_SECONDS:
        return
    found = catalogue.estimates().ask(catalogue.client(), size, references, options)
    text = estimates.estimate_text(words, _awaited(found, place), count)
    if text:
        place.markdown(f":material/timer: {text}", width="content")


def _awaited(found: Future[EditEstimate | None], place: DeltaGenerator) -> EditEstimate | None:
    """The answer, if it comes soon. Drawing is where Streamlit gives way to a press."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not found.done() and time.monotonic() < until:
        wait([found], STEP_SECONDS)
        place.empty()
    return found.result() if found.done() else None
