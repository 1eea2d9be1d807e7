"""The batches that have ended, but for the displayed one.

Each with its results, ZIP file and removal.
"""

from __future__ import annotations

import streamlit as st

from studio import batch_progress, batch_results, components, names
from studio.batch import Batch
from studio.session import Session
from studio.text import Words, plain

THUMB = 56
"""Width of a thumbnail in pixels."""


def show_batches(words: Words, session: Session) -> None:
    """Draw them, the newest first."""
    displayed = session.shown_batch if session.run is None or session.is_looking else None
    others = [batch for batch in session.batches if batch is not displayed]
    if not others:
        return
    with st.container(border=True, key="card-batches"):
        st.header(words("batches"), anchor=False)
        for batch in others:
            _row(words, session, batch)


def _row(words: Words, session: Session, batch: Batch) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"batches-{batch.number}"):
        with st.container(width=THUMB, key=f"batches-thumb-{batch.number}"):
            first = batch.tasks[0]
            thumb = first.result.thumb if first.result else first.source.thumb
            components.still(thumb, alt=words("batch"), key=f"batches-still-{batch.number}")
        with st.container(gap=None, key=f"batches-text-{batch.number}"):
            st.markdown(f"**{plain(names.batch_name(words, batch))}**")
            st.caption(batch_progress.total(words, batch.tasks))
        if st.button(words("batch.show"), icon=":material/photo_library:", key=f"batches-show-{batch.number}"):
            session.look_at_batch(batch)
            st.rerun()
        batch_results.draw_zip(words, batch)
        batch_results.draw_removal(words, session, batch)
