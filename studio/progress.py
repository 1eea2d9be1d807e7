"""The progress display: stage, step, time left, preview, cancel.

Polls twice a second.
"""

from __future__ import annotations

import streamlit as st

from studio import batch_progress, components
from studio.runs import Run, Task
from studio.session import Session
from studio.text import Words

LOOK_SECONDS = 0.5


def show_progress(words: Words, session: Session, run: Run) -> None:
    """Show the run until it ends; then redraw the whole page."""
    components.arrive(key=f"arrive-{id(run)}")
    _look(words, session, run)


@st.fragment(run_every=LOOK_SECONDS)
def _look(words: Words, session: Session, run: Run) -> None:
    job = session.line.running
    if job is None or job.run is not run:
        st.rerun()
    with st.container(border=True, key="progress"):
        if job.batch is not None:
            batch_progress.show_batch(words, job.batch)
        elif len(run.tasks) == 1:
            _one(words, run.tasks[0])
        else:
            _several(words, run)
        with st.container(horizontal=True, vertical_alignment="center"):
            _cancel(words, run)
            st.toggle(words("notify"), key="notify", help=words("notify.help"), persist_state="session")


def _one(words: Words, task: Task) -> None:
    st.progress(task.share, text=f"**{_where(words, task)}**")
    step, left = _step(words, task), _left(words, task)
    facts = [words("elapsed", time=words.seconds(task.seconds)), *([step] if step else []), *([left] if left else [])]
    st.caption(" · ".join(facts))
    _picture(words, task, small=False)


def _several(words: Words, run: Run) -> None:
    for task, column in zip(run.tasks, st.columns(len(run.tasks)), strict=True):
        with column:
            _picture(words, task, small=True)
            st.progress(task.share, text=words(f"state.{task.state}"))


def _picture(words: Words, task: Task, *, small: bool) -> None:
    key = f"still-{task.id}"
    if task.preview is not None and task.result is None:
        components.still(task.preview, alt=words("preview"), key=key, kind="jpeg")
        return
    original = task.source.thumb if small else task.source.view
    done = task.result.thumb if task.result else None
    components.still(done or original, alt=words("edited" if done else "original"), key=key)


def _where(words: Words, task: Task) -> str:
    now = task.progress
    if not now.count:
        return words("starting")
    if now.waiting is not None:
        return words("waiting", count=now.waiting) if now.waiting else words("waiting.next")
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
