"""The table of a batch: progress and results."""

from __future__ import annotations

from typing import Any

import streamlit as st

from studio import errors
from studio.batch_zip import BatchZip
from studio.runs import Run, Task
from studio.text import Words


def show(words: Words, run: Run) -> None:
    """One line for the batch, and one row per image."""
    done = sum(task.ended is not None for task in run.tasks)
    failed = sum(task.state == "failed" for task in run.tasks)
    text = words("batch.progress", done=done, count=len(run.tasks))
    if failed:
        text += f" · {words('batch.failed', count=failed)}"
    st.progress(sum(task.share for task in run.tasks) / len(run.tasks), text=f"**{text}**")
    st.dataframe(
        [_row(words, task, has_notes=failed > 0) for task in run.tasks],
        hide_index=True,
        column_config=_columns(words),
        alt=text,
    )


def download(words: Words, zipped: BatchZip) -> None:
    """The button for the ZIP file."""
    st.download_button(
        words("batch.zip"),
        zipped.read,
        "imgedit.zip",
        "application/zip",
        icon=":material/folder_zip:",
        type="primary",
        key="zip",
        on_click="ignore",
    )


def _row(words: Words, task: Task, *, has_notes: bool) -> dict[str, Any]:
    note = errors.message(words, task.error) if task.error and task.state == "failed" else ""
    return {
        "file": task.source.name,
        "state": words(f"state.{task.state}"),
        "share": task.share,
        "seconds": round(task.seconds, 1) if task.started is not None else None,
        "seed": str(task.result.answer.seed) if task.result else "",
        **({"note": note} if has_notes else {}),
    }


def _columns(words: Words) -> dict[str, Any]:
    columns = st.column_config
    return {
        "file": columns.TextColumn(words("batch.file"), width="medium"),
        "state": columns.TextColumn(words("batch.state"), width="small"),
        "share": columns.ProgressColumn(words("batch.step"), min_value=0, max_value=1, format="percent"),
        "seconds": columns.NumberColumn(words("batch.time"), format="%.1f", width="small"),
        "seed": columns.TextColumn(words("batch.seed")),
        "note": columns.TextColumn(words("batch.note"), width="large"),
    }
