"""The names of edits and batches on the page. Does not import Streamlit."""

from __future__ import annotations

from studio.batch import Batch
from studio.runs import Task
from studio.text import Words


def edit_name(words: Words, task: Task) -> str:
    """The feature, then the prompt or else the file."""
    feature = words.named("name", task.options.get("feature") or "")
    return f"{feature} · {task.options.get('prompt') or task.source.name}"


def batch_name(words: Words, batch: Batch) -> str:
    """Its number in the session, then what it does."""
    return f"{words('batch.name', number=batch.number)} · {edit_name(words, batch.tasks[0])}"
