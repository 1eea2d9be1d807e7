"""What is shown while edits run: stage, step, time left, a preview, and the way out. Looks twice a second."""

from __future__ import annotations

import streamlit as st

from studio import batch_table
from studio.desk import Desk
from studio.runs import Run, Task
from studio.text import Words

LOOK_SECONDS = 0.5


def show(words: Words, desk: Desk, run: Run) -> None:
    """The run until it is over; then the whole page is drawn anew."""
    _look(words, desk, run)


@st.fragment(run_every=LOOK_SECONDS)
def _look(words: Words, desk: Desk, run: Run) -> None:
    if run.is_over or desk.run is not run:
        st.rerun()
    with st.container(border=True, key="progress"):
        if len(run.tasks) == 1:
            _one(words, run.tasks[0])
        elif desk.zipped is not None:
            batch_table.show(words, run)
        else:
            _several(words, run)
        _cancel(words, run)


def _one(words: Words, task: Task) -> None:
    st.progress(task.share, text=f"**{_where(words, task)}**")
    step, left = _step(words, task), _left(words, task)
    facts = [words("elapsed", time=words.seconds(task.seconds)), *([step] if step else []), *([left] if left else [])]
    st.caption(" · ".join(facts))
    picture = task.preview or task.source.view
    alt = words("preview") if task.preview else words("original")
    with st.container(key="preview"):
        st.image(picture, alt=alt, width="stretch")


def _several(words: Words, run: Run) -> None:
    for task, column in zip(run.tasks, st.columns(len(run.tasks)), strict=True):
        with column:
            view = task.result.thumb if task.result else task.preview or task.source.thumb
            st.image(view, alt=words("preview"), width="stretch")
            st.progress(task.share, text=words(f"state.{task.state}"))


def _where(words: Words, task: Task) -> str:
    now = task.progress
    if not now.count:
        return words("starting")
    if now.waiting is not None:
        return words("waiting", count=now.waiting)
    return words("stage", index=now.index, count=now.count, name=words.named("stage", now.stage))


def _step(words: Words, task: Task) -> str:
    now = task.progress
    return words("step", step=now.step, steps=now.steps) if now.steps else ""


def _left(words: Words, task: Task) -> str:
    eta = task.progress.eta_seconds
    return words("left", time=words.seconds(eta)) if eta is not None else ""


def _cancel(words: Words, run: Run) -> None:
    if st.button(
        words("cancelling") if run.is_cancelled else words("cancel"),
        icon=":material/stop_circle:",
        key="cancel",
        disabled=run.is_cancelled,
    ):
        run.cancel()
