"""The results of a batch, with its ZIP file and its removal.

Each image before and after, its download and its retry.
"""

from __future__ import annotations

import mimetypes

import streamlit as st

from studio import batch_progress, errors, names
from studio.batch import Batch
from studio.runs import Task
from studio.session import Session
from studio.text import Words, plain

THUMB = 72
"""Width of a thumbnail in pixels."""


def show_results(words: Words, session: Session, batch: Batch) -> list[Task]:
    """Draw the results in upload order; return the tasks to retry."""
    again: list[Task] = []
    st.caption(plain(names.batch_name(words, batch)))
    with st.container(horizontal=True, vertical_alignment="center", key="batch-actions"):
        st.markdown(f"**{batch_progress.total(words, batch.tasks)}**", width="content")
        draw_zip(words, batch, is_main=True)
        if batch.unfinished and st.button(
            words("batch.again_all", count=len(batch.unfinished)), icon=":material/refresh:", key="batch-again-all"
        ):
            again = batch.unfinished
        draw_removal(words, session, batch)
    for place, task in enumerate(batch.tasks):
        if _row(words, batch, task, place):
            again = [task]
    return again


def _row(words: Words, batch: Batch, task: Task, place: int) -> bool:
    """Draw one image; True to retry it."""
    name = plain(task.source.name)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"batch-row-{place}"):
        st.image(task.source.thumb, width=THUMB, alt=words("original"))
        if task.result:
            st.image(task.result.thumb, width=THUMB, alt=words("edited"))
        with st.container(gap=None, key=f"batch-text-{place}"):
            st.markdown(f"**{name}**")
            st.caption(_said(words, task))
        if task.result:
            _download(words, batch, task, place)
        return task.ended is not None and st.button(
            words("batch.again"), icon=":material/refresh:", type="tertiary", key=f"batch-again-{task.id}"
        )


def _said(words: Words, task: Task) -> str:
    """State, seconds and seed; the error of a failed task."""
    if task.error and task.state == "failed":
        return f"{words('state.failed')} · {plain(errors.error_message(words, task.error))}"
    facts = [words(f"state.{task.state}")]
    if task.result:
        facts.append(words.seconds(task.result.answer.elapsed_time))
        if task.result.is_painted:
            facts.append(f"{words('batch.seed')} {task.result.answer.seed}")
    return " · ".join(facts)


def _download(words: Words, batch: Batch, task: Task, place: int) -> None:
    name = task.result.file_name if task.result else ""
    st.download_button(
        words("download"),
        lambda: batch.picture(task),  # read when it is pressed
        name,
        mimetypes.guess_type(name)[0] or "application/octet-stream",
        icon=":material/download:",
        type="tertiary",
        key=f"batch-download-{place}",
        on_click="ignore",
    )


def draw_zip(words: Words, batch: Batch, *, is_main: bool = False) -> None:
    """The download of all results, if there are any."""
    if not any(task.result for task in batch.tasks):
        return
    st.download_button(
        words("batch.zip" if is_main else "batch.zip.short"),
        batch.zipped,
        batch.name,
        "application/zip",
        icon=":material/folder_zip:",
        type="primary" if is_main else "secondary",
        key=f"zip-{batch.number}",
        on_click="ignore",
    )


def draw_removal(words: Words, session: Session, batch: Batch) -> None:
    """The removal of a batch, after a question; not while a part of it is in line."""
    if any(job.batch is batch for job in session.line.jobs):
        return
    with st.popover(words("batch.remove"), icon=":material/delete:", type="tertiary", key=f"remove-box-{batch.number}"):
        st.markdown(words("batch.remove.sure"))
        if st.button(words("batch.remove.yes"), type="primary", key=f"remove-{batch.number}"):
            session.drop_batch(batch)
            st.rerun()
