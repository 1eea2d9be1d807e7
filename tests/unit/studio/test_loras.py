"""The page's choice of LoRAs, drawn by Streamlit without a browser."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from imgedit.values import Lora

pytestmark = pytest.mark.slow


def page() -> None:
    import streamlit as st

    from imgedit.v1 import edit_pb2, lora_pb2
    from studio.catalogue import Form
    from studio.loras import draw_loras
    from studio.text import Words

    names = st.session_state.get("offered", ["ink", "oil", "수채화", "neon"])
    feature = edit_pb2.Feature(
        id="inpainting",
        parameters=[edit_pb2.ParameterSpec(name="loras", help={"ko": "도움말", "en": "help"})] if names else [],
        loras=[lora_pb2.Lora(name=name, model_id="FLUX.1-Fill") for name in names],
    )
    options: dict[str, object] = {}
    draw_loras(Words("ko"), Form(edit_pb2.Experiment(id="one"), feature), options)
    st.session_state["options"] = options


def test_chosen_loras_become_options_with_their_strengths() -> None:
    app = AppTest.from_function(page).run()
    assert app.session_state["options"] == {}
    assert not app.slider
    app.multiselect[0].set_value(["ink", "수채화"]).run()
    assert app.session_state["options"] == {"loras": [Lora("ink"), Lora("수채화")]}
    app.slider[1].set_value(0.5).run()
    assert app.session_state["options"] == {"loras": [Lora("ink"), Lora("수채화", 0.5)]}
    assert not app.exception


def test_a_lora_that_has_gone_is_no_longer_chosen_and_without_any_nothing_is_drawn() -> None:
    app = AppTest.from_function(page).run()
    app.multiselect[0].set_value(["ink", "oil"]).run()
    app.session_state["offered"] = ["oil"]
    app.run()
    assert app.session_state["options"] == {"loras": [Lora("oil")]}
    app.session_state["offered"] = []
    app.run()
    assert not app.multiselect
    assert app.session_state["options"] == {}
    assert not app.exception
