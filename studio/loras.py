"""The LoRAs of an edit: which of the server's, and how strongly each."""

from __future__ import annotations

from typing import Any

import streamlit as st

from imgedit.values import Lora
from studio import fields
from studio.catalogue import Form
from studio.text import Words, plain

MOST = 3
STRONGEST = 2.0
"""On the page; the API takes up to 4, where pictures fall apart."""


def draw_loras(words: Words, form: Form, options: dict[str, Any]) -> None:
    """The choice, and a slider for each chosen one.

    Nothing is drawn if the server has none for the feature.
    """
    spec = form.take("loras")
    names = [*dict.fromkeys(lora.name for lora in form.feature.loras)]
    if spec is None or not names:
        return
    key = form.key("loras")
    if key in st.session_state:  # one may have gone since it was chosen
        st.session_state[key] = [name for name in st.session_state[key] if name in names]
    chosen = st.multiselect(
        words("loras"),
        names,
        max_selections=MOST,
        placeholder=words("loras.none"),
        help=fields.help_of(words, spec),
        key=key,
        persist_state="session",
    )
    loras = [Lora(name, _scale(words, form, name)) for name in chosen]
    if loras:
        options["loras"] = loras


def _scale(words: Words, form: Form, name: str) -> float:
    return float(
        st.slider(
            words("loras.scale", name=plain(name)),
            -STRONGEST,
            STRONGEST,
            1.0,
            step=0.05,
            format="%.2f",
            key=f"{form.key('lora-scale')}-{name}",
            persist_state="session",
        )
    )
