"""Custom components: a mask brush, a comparison slider, a gallery.

Each is the HTML, CSS and JavaScript beside this file, mounted by Streamlit in a shadow root. They load no external
resource, and user input is inserted as text, never as HTML.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from studio.pictures import data_url
from studio.text import Words

_HERE = Path(__file__).parent


def _component(name: str) -> Any:
    html, css, js = ((_HERE / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return st.components.v2.component(f"imgedit_{name}", html=html, css=css, js=js)


_brush, _compare, _gallery, _still = (_component(name) for name in ("brush", "compare", "gallery", "still"))
_language = st.components.v2.component("imgedit_language", js=(_HERE / "language.js").read_text(encoding="utf-8"))
_arrive = st.components.v2.component("imgedit_arrive", js=(_HERE / "arrive.js").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Item:
    """One image of a gallery.

    chosen: None if the gallery has no selection.
    """

    id: str
    picture: bytes
    title: str
    caption: str = ""
    chosen: bool | None = None


def brush(words: Words, picture: bytes, size: tuple[int, int], *, id: str, key: str) -> str:
    """Paint a mask over an image shown at `size`.

    Returns the mask as a data URL of a PNG, "" = nothing painted.
    """
    names = ("label", "size", "paint", "erase", "undo", "clear", "full")
    texts = {name: words(f"brush.{name}") for name in names} | {"covered": words("brush.covered", percent="{percent}")}
    data = {"id": id, "picture": data_url(picture), "width": size[0], "height": size[1], "words": texts}
    return str(_brush(data=data, key=key, default={"mask": ""}, on_mask_change=_nothing).mask or "")


def compare(words: Words, before: bytes, after: bytes, *, key: str) -> None:
    """Two images of one size, with a slider between them."""
    texts = {"before": words("original"), "after": words("edited"), "label": words("compare.label")}
    _compare(data={"before": data_url(before), "after": data_url(after), "words": texts}, key=key)


def gallery(items: list[Item], *, label: str, key: str, side: str = "5.5rem") -> str | None:
    """A gallery; returns the id of the image just chosen, or None.

    `side`: the minimum width of each.
    """
    shown = [
        {
            "id": item.id,
            "picture": data_url(item.picture),
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


def language(words: Words) -> None:
    """Set the page's language for screen readers; Streamlit always says English."""
    with st.container(key="language-of-page"):
        _language(key="page-language", data={"language": words.language})


def arrive(*, key: str) -> None:
    """Scroll the following content into view, once per key."""
    with st.container(key="arrive", height=1, gap=None):
        _arrive(key=key, data={"id": key})


def _nothing() -> None:
    """Do nothing: Streamlit passes a component only values with a callback."""
