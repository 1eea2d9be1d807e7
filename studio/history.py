"""The results of this session as a gallery."""

from __future__ import annotations

import streamlit as st

from studio import components
from studio.session import Session
from studio.text import Words


def show(words: Words, session: Session) -> None:
    """Let the user choose a result to view again."""
    if not session.history:
        return
    with st.container(border=True, key="card-history"):
        _gallery(words, session)


def _gallery(words: Words, session: Session) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header(words("history"), anchor=False, width="content")
        if st.button(words("history.clear"), type="tertiary", icon=":material/delete:", key="forget"):
            session.forget()
            st.rerun()
    items = []
    for result in session.history:
        feature = words.named("name", result.answer.effective.feature_id)
        title = words("history.pick", number=result.number, feature=feature)
        said = result.options.get("prompt")
        caption = f"{feature} · {said}" if said else feature
        items.append(components.Item(str(result.number), result.thumb, title, caption, chosen=result is session.shown))
    picked = components.gallery(items, label=words("history"), key="history", side="8.5rem")
    found = next((result for result in session.history if str(result.number) == picked), None)
    if found is not None:
        session.look_at(found)
        st.rerun()
