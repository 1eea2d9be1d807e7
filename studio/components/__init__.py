"""Small components of our own: a brush for masks, a slider between two pictures, pictures to choose from.

Each is the HTML, CSS and JavaScript beside this file, which Streamlit mounts in a shadow root; nothing is loaded from
elsewhere, and what people entered reaches the page as text, never as HTML.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from studio.pictures import data_url
from studio.text import Words

_HERE = Path(__file__).parent

_PAGE = "page"

BRUSH_TEXTS = (
    *("label", "brushing", "rectangle", "lasso", "hand", "paint", "erase", "size", "undo", "redo", "invert", "clear"),
    *("start", "starting", "zoom_in", "zoom_out", "zoom_fit", "full"),
)


def _component(name: str) -> Any:
    html, css, js = ((_HERE / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return st.components.v2.component(f"imgedit_{name}", html=html, css=css, js=js)


_brush, _compare, _gallery, _still = (_component(name) for name in ("brush", "compare", "gallery", "still"))
_page = st.components.v2.component("imgedit_page", js=(_HERE / "page.js").read_text(encoding="utf-8"))
_arrive = st.components.v2.component("imgedit_arrive", js=(_HERE / "arrive.js").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Item:
    """One picture of a gallery, or an icon of Material Symbols. chosen: None where nothing is chosen in it."""

    id: str
    picture: bytes | None
    title: str
    caption: str = ""
    chosen: bool | None = None
    icon: str = ""


def brush(
    words: Words,
    picture: bytes,
    size: tuple[int, int],
    *,
    id: str,
    key: str,
    base: tuple[str, bytes | None] | None,
) -> str:
    """Paint a mask over a picture that is shown at `size`; the mask as a data URL of a PNG, "" = nothing is painted.

    base: the mask to begin with that was asked for, with the id of the question.
    """
    texts = {name: words(f"brush.{name}") for name in BRUSH_TEXTS}
    texts["covered"] = words("brush.covered", percent="{percent}")
    answer = base and {"id": base[0], "layer": data_url(base[1], "png") if base[1] else ""}
    data = {"id": id, "picture": data_url(picture), "width": size[0], "height": size[1], "words": texts}
    state = _brush(
        data={**data, "base": answer},
        key=key,
        default={"mask": ""},
        on_mask_change=_nothing,
        on_start_change=_nothing,
    )
    return str(state.mask or "")


def asked(*, key: str) -> str | None:
    """The id of the question for a mask to begin with that the brush has just asked, if it has."""
    state: Any = st.session_state.get(key)
    found = state.get("start") if state else None
    return None if found is None else str(found)


def compare(words: Words, before: bytes, after: bytes, *, key: str) -> None:
    """Two pictures of one size, with a slider between them."""
    texts = {"before": words("original"), "after": words("edited"), "label": words("compare.label")}
    _compare(data={"before": data_url(before), "after": data_url(after), "words": texts}, key=key)


def gallery(items: list[Item], *, label: str, key: str, side: str = "5.5rem") -> str | None:
    """Pictures to choose from; the id of the one that was just chosen, or None. `side` is the least width of each."""
    shown = [
        {
            "id": item.id,
            "picture": data_url(item.picture) if item.picture else "",
            "icon": item.icon,
            "title": item.title,
            "caption": item.caption,
            **({} if item.chosen is None else {"chosen": item.chosen}),
        }
        for item in items
    ]
    data = {"items": shown, "label": label, "side": side}
    picked = _gallery(data=data, key=key, on_picked_change=_nothing).picked
    return None if picked is None else str(picked)


def still(picture: bytes, *, alt: str, key: str, kind: str = "webp") -> None:
    """A picture that changes often. (Streamlit's own forgets the file of the one before while it may still load.)"""
    _still(data={"picture": data_url(picture, kind), "alt": alt}, key=key)


def page(words: Words, *, visit: str, is_busy: bool, notify: bool) -> None:
    """The page as a whole: language, id of the visit, keys, pasted and dropped pictures, and the end of an edit.

    visit: the id as it is known here. is_busy: whether an edit runs, before whose end the page asks whether to be left.
    notify: whether to say at its end, to somebody who looks elsewhere, that it has come.
    """
    texts = {"ended": words("notify.ended")}
    data = {"language": words.language, "visit": visit, "is_busy": is_busy, "notify": notify, "words": texts}
    with st.container(key="page-itself"):
        _page(key=_PAGE, data=data, default={"visit": ""}, on_visit_change=_nothing)


def visit() -> str:
    """The id of the visit that the browser's tab has told; "" before it has."""
    state: Any = st.session_state.get(_PAGE)
    return str(state.get("visit") or "") if state else ""


def arrive(*, key: str, place: str = "arrive") -> None:
    """Bring what is drawn here into sight, once when the key of this place is another one."""
    with st.container(key=place, height=1, gap=None):
        _arrive(key=key, data={"id": key, "place": place})


def _nothing() -> None:
    """Streamlit gives a component only those values for which there is a callback."""
