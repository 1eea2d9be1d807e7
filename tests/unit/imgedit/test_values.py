"""Mask, Outpaint and Output: frozen, complete, and sent as the API's messages."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from imgedit import EditClient, EditOptions, Mask, Outpaint, Output, SyncEditClient, edit_request
from imgedit.v1 import edit_pb2

PAIRS = [(Mask, edit_pb2.MaskOptions), (Outpaint, edit_pb2.Outpaint), (Output, edit_pb2.OutputOptions)]


@pytest.mark.parametrize(("value", "message"), PAIRS)
def test_a_value_has_the_fields_of_its_message_and_is_frozen(value: Any, message: Any) -> None:
    names = [field.name for field in fields(value)]
    assert names == [field.name for field in message.DESCRIPTOR.fields]
    with pytest.raises(FrozenInstanceError):
        setattr(value(), names[0], None)


def test_every_field_is_sent() -> None:
    mask = Mask(subject="background", invert=True, threshold=0.3, fill_holes=True, grow_px=0, feather_px=4)
    assert mask.message == edit_pb2.MaskOptions(
        subject="MASK_SUBJECT_BACKGROUND", invert=True, threshold=0.3, fill_holes=True, grow_px=0, feather_px=4
    )
    outpaint = Outpaint(left=1, right=2, top=3, bottom=4, aspect="16:9")
    assert outpaint.message == edit_pb2.Outpaint(left=1, right=2, top=3, bottom=4, aspect="16:9")
    output = Output(format="webp", quality=80, omit=["cutout", "mask"])
    assert output.message == edit_pb2.OutputOptions(
        format="OUTPUT_FORMAT_WEBP", quality=80, omit=["OUTPUT_OMIT_CUTOUT", "OUTPUT_OMIT_MASK"]
    )


def test_what_is_unset_is_not_sent() -> None:
    assert not Mask().message.ListFields()
    assert not Outpaint().message.ListFields()
    assert Output().message == edit_pb2.OutputOptions(format="OUTPUT_FORMAT_PNG")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Mask(subject="sky"), "Mask.subject must be one of 'subject', 'background', is 'sky'"),
        (lambda: Output(format="gif"), "Output.format must be one of 'png', 'jpeg', 'webp', is 'gif'"),
        (lambda: Output(omit=["alpha"]), "Output.omit must be one of 'cutout', 'mask', is 'alpha'"),
        (lambda: Output(omit="mask"), "Output.omit must be a list or tuple of 'cutout', 'mask', is 'mask'"),
        (
            lambda: edit_request(b"", experiment="e", profile="quick"),
            "profile must be one of 'fast', 'balanced', 'high'",
        ),
        (lambda: edit_request(b"", experiment="e", background="blue"), "background must be one of 'whole', 'keep'"),
    ],
)
def test_a_choice_that_is_none_is_refused_with_the_choices(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_value_of_another_kind_is_refused_and_a_message_is_taken() -> None:
    make: Any = edit_request
    with pytest.raises(TypeError, match=r"mask_options must be an imgedit\.Mask, is Outpaint"):
        make(b"", experiment="e", mask_options=Outpaint(left=1))
    sent = make(b"", experiment="e", mask_options=edit_pb2.MaskOptions(grow_px=3))
    assert sent == make(b"", experiment="e", mask_options=Mask(grow_px=3), request_id=sent.request_id)


def test_none_is_as_if_it_were_left_out() -> None:
    nothing: Any = dict.fromkeys(name for name in EditOptions.__annotations__ if name != "experiment")
    assert edit_request(b"x", experiment="e", **{**nothing, "request_id": "one"}) == edit_request(
        b"x", experiment="e", request_id="one"
    )


@pytest.mark.parametrize("client", [EditClient, SyncEditClient])
@pytest.mark.parametrize("method", ["edit", "edit_many"])
def test_help_tells_every_option(client: Any, method: str) -> None:
    function = getattr(client, method)
    text = inspect.getdoc(function) or ""
    parameters = inspect.signature(function).parameters
    for name in EditOptions.__annotations__:
        assert f"\n{name}: " in text, name
        assert parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    assert parameters["experiment"].default is inspect.Parameter.empty
    assert parameters["seed"].default is None
