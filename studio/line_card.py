"""The waiting edits: their places, and the way out of the line."""

from __future__ import annotations

import streamlit as st

from studio import components, errors, names
from studio.line import Job
from studio.session import Session
from studio.text import Words, plain

THUMB = 56
"""Width of a thumbnail in pixels."""


def show_refusal(words: Words, session: Session) -> None:
    """Why the last press was refused, if it was."""
    if session.refused is not None:
        st.info(words(session.refused), icon=":material/playlist_remove:")
        session.refused = None


def show_line(words: Words, session: Session) -> None:
    """Draw the waiting edits."""
    waiting = session.line.waiting
    if not waiting:
        return
    with st.container(border=True, key="card-line"):
        st.header(words("line"), anchor=False)
        for place, job in enumerate(waiting, 1):
            if _row(words, job, place):
                session.line.leave(job)
                st.rerun()


def show_failures(words: Words, session: Session) -> None:
    """The errors of edits that had waited, or were waited for."""
    for name, error in session.failures:
        errors.show_error(words, error, title=words("line.failed", name=plain(name)))


def _row(words: Words, job: Job, place: int) -> bool:
    """Draw one waiting edit; True to take it out."""
    task = job.run.tasks[0]
    said = words("line.place", place=place, what=plain(_what(words, job)))
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"line-{place}"):
        with st.container(width=THUMB, key=f"line-thumb-{place}"):
            components.still(task.source.thumb, alt=words("picture.alt"), key=f"line-still-{task.id}")
        st.markdown(said)
        return st.button(words("line.leave"), icon=":material/close:", type="tertiary", key=f"line-leave-{task.id}")


def _what(words: Words, job: Job) -> str:
    count = len(job.run.tasks)
    name = names.batch_name(words, job.batch) if job.batch else names.edit_name(words, job.run.tasks[0])
    return f"{name} (×{count})" if count > 1 else name
