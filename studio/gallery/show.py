"""The gallery on the page: its tiles, and what can be done with a kept result."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import streamlit as st

from imgedit.errors import ImgeditError
from studio import components, errors
from studio.gallery.shelf import Shelf
from studio.gallery.store import Entry, GalleryError
from studio.runs import Result
from studio.session import Session
from studio.text import Words

PAGE = 12
"""Tiles at first, and with each "more"."""

_COUNT, _STARRED = "gallery-count", "gallery-starred"


def show_gallery(words: Words, session: Session, shelf: Shelf | None) -> None:
    """Draw the tiles of earlier results; nothing while there are none."""
    if shelf is None:
        return
    count = int(st.session_state.get(_COUNT, PAGE))
    is_filtered = bool(st.session_state.get(_STARRED))
    try:
        entries, total = shelf.entries(count=count, starred=is_filtered)
        if not total and not is_filtered:
            return
        with st.container(border=True, key="card-gallery"):
            _head(words, shelf)
            _tiles(words, session, shelf, entries)
            if total > count and st.button(words("gallery.more", count=total - count), type="tertiary", key="more"):
                st.session_state[_COUNT] = count + PAGE
                st.rerun()
            st.caption(words("gallery.days", days=f"{shelf.gallery.limits.keep_seconds / 86400:g}"))
    except GalleryError:
        st.warning(words("gallery.unreadable"), icon=":material/folder_off:")


def show_not_kept(words: Words, session: Session) -> None:
    """The reason why the last results are not in the gallery, if they are not."""
    if session.not_kept is not None:
        why = words.named("not_kept", session.not_kept)
        st.warning(words("gallery.not_kept", why=why), icon=":material/folder_off:")


def draw_actions(words: Words, session: Session, shelf: Shelf | None, result: Result) -> None:
    """The star and the deletion of a kept result."""
    try:
        entry = shelf.find(result) if shelf else None
        if shelf is None or entry is None:
            return
        name, icon = ("gallery.unstar", "star") if entry.is_starred else ("gallery.star", "star_border")
        if st.button(words(name), icon=f":material/{icon}:", type="tertiary", key="star"):
            shelf.star(entry, is_starred=not entry.is_starred)
            st.rerun()
        with st.popover(words("gallery.delete"), icon=":material/delete:", type="tertiary"):
            st.markdown(words("gallery.delete.sure"))
            if st.button(words("gallery.delete.yes"), type="primary", key="delete"):
                shelf.delete(entry)
                session.drop(result)
                st.rerun()
    except GalleryError:
        st.warning(words("gallery.unreadable"), icon=":material/folder_off:")


def _head(words: Words, shelf: Shelf) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header(words("gallery"), anchor=False, width="content")
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.toggle(words("gallery.starred"), key=_STARRED)
            with st.popover(words("gallery.clear"), icon=":material/delete_sweep:", type="tertiary"):
                st.markdown(words("gallery.clear.sure"))
                if st.button(words("gallery.clear.yes"), type="primary", key="gallery-clear"):
                    shelf.clear()
                    st.rerun()


def _tiles(words: Words, session: Session, shelf: Shelf, entries: list[Entry]) -> None:
    shown = session.shown.id if session.shown else None
    items = [_item(words, entry, is_shown=entry.request_id == shown) for entry in entries]
    picked = components.gallery(items, label=words("gallery"), key="gallery", side="8.5rem")
    if picked is None:
        return
    try:
        found = shelf.take(picked, number=next(session.numbers), visit=session.visit)
    except ImgeditError as error:
        errors.show_error(words, error)
        return
    if found is not None:
        session.look_at(found)
    st.rerun()


def _item(words: Words, entry: Entry, *, is_shown: bool) -> components.Item:
    feature = words.named("name", entry.feature)
    said = f"{feature} · {entry.prompt}" if entry.prompt else feature
    made = datetime.fromtimestamp(entry.made, ZoneInfo(st.context.timezone or "UTC"))
    title = words("gallery.pick", time=f"{made:%Y-%m-%d %H:%M}", what=said)
    return components.Item(entry.id, entry.thumb, title, f"★ {said}" if entry.is_starred else said, chosen=is_shown)
