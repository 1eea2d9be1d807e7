"""The table of a batch: progress and results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from studio import errors
from studio.runs import Task
from studio.text import Words


def show_batch(words: Words, tasks: Sequence[Task]) -> None:
    """The whole batch in one line, and each image in one row."""
    text = total(words, tasks)
    st.progress(sum(task.share for task in tasks) / len(tasks), text=f"**{text}**")
    has_notes = any(task.state == "failed" for task in tasks)
    st.dataframe(
        [_row(words, task, has_notes=has_notes) for task in tasks],
        hide_index=True,
        column_config=_columns(words),
        alt=text,
    )


def total(words: Words, tasks: Sequence[Task]) -> str:
    """The number of finished and failed edits."""
    done = sum(task.ended is not None for task in tasks)
    failed = sum(task.state == "failed" for task in tasks)
    text = words("batch.progress", done=done, count=len(tasks))
    return f"{text} · {words('batch.failed', count=failed)}" if failed else text


def _row(words: Words, task: Task, *, has_notes: bool) -> dict[str, Any]:
    note = errors.error_message(words, task.error) if task.error and task.state == "failed" else ""
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
