"""The progress of a batch: every image as a tile, before and then after its edit."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from studio import components, errors, input_images, names
from studio.batch import Batch
from studio.runs import Task
from studio.text import Words, plain

TILE = 112
"""Width of a tile in pixels."""

SIDE = 104
"""Longest side of its picture: small, since all are sent twice a second."""


def show_batch(words: Words, batch: Batch) -> None:
    """The whole batch in one line, and each image as a tile."""
    tasks = batch.tasks
    st.caption(plain(names.batch_name(words, batch)))
    st.progress(sum(task.share for task in tasks) / len(tasks), text=f"**{total(words, tasks)}**")
    with st.container(horizontal=True, gap="small", key="batch-tiles"):
        for task in tasks:
            with st.container(width=TILE, gap=None, key=f"tile-{task.id}"):
                _tile(words, task)


def total(words: Words, tasks: Sequence[Task]) -> str:
    """The number of finished and failed edits."""
    done = sum(task.ended is not None for task in tasks)
    failed = sum(task.state == "failed" for task in tasks)
    text = words("batch.progress", done=done, count=len(tasks))
    return f"{text} · {words('batch.failed', count=failed)}" if failed else text


def _tile(words: Words, task: Task) -> None:
    result = task.result
    picture = _small(result.thumb if result else task.source.thumb)
    components.still(picture, alt=words("edited" if result else "original"), key=f"tile-still-{task.id}")
    said = words(f"state.{task.state}")
    if task.error is not None and task.state == "failed":
        said = f"{said}: {plain(errors.error_message(words, task.error))}"
    st.progress(task.share, text=said)
    st.caption(plain(task.source.name))


@st.cache_data(show_spinner=False, max_entries=256)
def _small(thumb: bytes) -> bytes:
    return input_images.reduced(thumb, SIDE)
