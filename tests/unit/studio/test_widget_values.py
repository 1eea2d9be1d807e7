"""Kept values of the form under a catalogue that has changed since."""

from __future__ import annotations

import math

import pytest
from streamlit.testing.v1 import AppTest

from studio.widget_values import fitted_number

pytestmark = pytest.mark.slow


def page() -> None:
    import streamlit as st

    from imgedit.v1 import edit_pb2
    from studio import fields, widget_values
    from studio.catalogue import Form
    from studio.text import Words

    widget_values.restore_values(st.session_state.pop("pending", {}))
    specs = [
        edit_pb2.ParameterSpec(
            name="steps",
            type=edit_pb2.PARAMETER_TYPE_INTEGER,
            range=edit_pb2.NumberRange(min=10, max=20),
            default={"number_value": 12},
        ),
        edit_pb2.ParameterSpec(
            name="strength",
            type=edit_pb2.PARAMETER_TYPE_NUMBER,
            range=edit_pb2.NumberRange(min=0, max=1),
            default={"number_value": 0.5},
        ),
        edit_pb2.ParameterSpec(
            name="background",
            type=edit_pb2.PARAMETER_TYPE_ENUM,
            choices=edit_pb2.Choices(names=["BACKGROUND_WHOLE"]),
            default={"string_value": "BACKGROUND_WHOLE"},
        ),
    ]
    form = Form(edit_pb2.Experiment(id="one"), edit_pb2.Feature(id="f", parameters=specs))
    st.session_state["drawn"] = [fields.draw_field(Words("ko"), form, spec) for spec in specs]


def test_kept_values_out_of_the_present_ranges_are_moved_and_said_to_be() -> None:
    app = AppTest.from_function(page)
    app.session_state["pending"] = {"one-f-steps": 50, "one-f-strength": 2, "one-f-background": "BACKGROUND_KEEP"}
    app.run()
    assert not app.exception
    assert app.session_state["drawn"] == [20, 1.0, None]
    assert [toast.value for toast in app.toast] == [
        "Steps (추론 단계): 저장된 값 50을(를) 지금 범위(10–20)에 맞춰 20(으)로 바꿨습니다.",
        "Strength (변화 강도): 저장된 값 2을(를) 지금 범위(0–1)에 맞춰 1(으)로 바꿨습니다.",
    ]


def test_kept_values_within_the_ranges_stay_without_a_word() -> None:
    app = AppTest.from_function(page)
    app.session_state["pending"] = {"one-f-steps": 15, "one-f-strength": 0.25}
    app.run()
    assert not app.exception
    assert app.session_state["drawn"] == [15, 0.25, None]
    assert not app.toast


@pytest.mark.parametrize(
    ("value", "expected"), [(3, 3), (0, 1), (9, 5), (2.7, 2), ("3", None), (True, None), (math.nan, None), (None, None)]
)
def test_a_number_of_a_range_is_the_nearest_one(value: object, expected: int | None) -> None:
    assert fitted_number(value, 1, 5) == expected
    if expected is not None:
        assert type(fitted_number(value, 1, 5)) is int
