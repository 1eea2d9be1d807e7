"""Custom components: a mask brush, a comparison slider, a crop tool, a gallery.

Each is the HTML, CSS and JavaScript beside this file, mounted by Streamlit in a shadow root. They load no external
resource, and user input is inserted as text, never as HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from studio.input_images import data_url
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


_brush, _compare, _crop, _gallery, _still = map(_component, ("brush", "compare", "crop", "gallery", "still"))
_page = st.components.v2.component("imgedit_page", js=(_HERE / "page.js").read_text(encoding="utf-8"))
_arrive = st.components.v2.component("imgedit_arrive", js=(_HERE / "arrive.js").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Item:
    """One image of a gallery, or an icon of Material Symbols.

    chosen: None if the gallery has no selection.
    """

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
    """Paint a mask over an image shown at `size`.

    Returns the id, a space, and the mask as a data URL of a PNG; "" = nothing painted. base: the requested initial
    mask, with the id of the request.
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
    """The id of the brush's new request for an initial mask, if any."""
    state: Any = st.session_state.get(key)
    found = state.get("start") if state else None
    return None if found is None else str(found)


def compare(words: Words, before: bytes, after: bytes, *, key: str) -> None:
    """Two images of one size, with a slider between them."""
    texts = {"before": words("original"), "after": words("edited"), "label": words("compare.label")}
    _compare(data={"before": data_url(before), "after": data_url(after), "words": texts}, key=key)


def crop(words: Words, picture: bytes, size: tuple[int, int], *, key: str) -> Any:
    """Choose a part of an image of `size` pixels, and turn it.

    Returns its triggers: `applied` holds the quarter turns to the right and the part, `closed` is true; else None.
    """
    texts: dict[str, Any] = {
        name: words(f"crop.{name}") for name in ("left", "right", "reset", "close", "apply", "label", "fit")
    }
    texts["edges"] = [words(f"crop.edge.{name}") for name in ("left", "right", "top", "bottom")]
    data = {"picture": data_url(picture), "width": size[0], "height": size[1], "words": texts}
    return _crop(data=data, key=key, on_applied_change=_nothing, on_closed_change=_nothing)


def gallery(items: list[Item], *, label: str, key: str, side: str = "5.5rem") -> str | None:
    """A gallery; returns the id of the image just chosen, or None.

    `side`: the minimum width of each.
    """
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
    """A frequently updated image.

    Streamlit's own drops the previous file while it may still load.
    """
    _still(data={"picture": data_url(picture, kind), "alt": alt}, key=key)


def page(words: Words, *, visit: str, browser: str | None, is_busy: bool, notify: bool) -> None:
    """The page-wide component: language, session id, keys, pasted and dropped images.

    It also reports the end of an edit. visit: the known id. browser: the known id of the browser, None = it is not
    needed. is_busy: whether an edit runs, so that the page asks before it is left. notify: whether to notify a user who
    looks elsewhere at the end.
    """
    texts = {"ended": words("notify.ended")}
    data = {
        "language": words.language,
        "visit": visit,
        "browser": browser,
        "is_busy": is_busy,
        "notify": notify,
        "words": texts,
    }
    with st.container(key="page-itself"):
        _page(key=_PAGE, data=data, default={"told": {}}, on_told_change=_nothing)


def visit() -> str:
    """The id of the visit that the browser's tab has told; "" before it has."""
    return _told("visit")


def browser() -> str:
    """The id of the browser, kept by it for good; "" before the page has it."""
    return _told("browser")


def _told(name: str) -> str:
    state: Any = st.session_state.get(_PAGE)
    told = state.get("told") if state else None
    return str(told.get(name) or "") if isinstance(told, Mapping) else ""


def arrive(*, key: str, place: str = "arrive") -> None:
    """Scroll the following content into view, when the key of this place changes."""
    with st.container(key=place, height=1, gap=None):
        _arrive(key=key, data={"id": key, "place": place})


def _nothing() -> None:
    """Do nothing: Streamlit passes a component only values with a callback."""
