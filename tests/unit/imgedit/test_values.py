"""Mask, Outpaint and Output: frozen, complete, and sent as the API's messages."""

from __future__ import annotations

import inspect
from dataclasses import FrozenInstanceError, fields
from typing import Any, get_args

import numpy as np
import pytest

import imgedit
from imgedit import EditClient, EditOptions, EditStatus, Mask, Outpaint, Output, SyncEditClient, edit_request
from imgedit.result import State
from imgedit.v1 import edit_pb2, lora_pb2
from imgedit.values import Format, Omit, Subject

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


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Mask(grow_px="3"), TypeError, r"Mask\.grow_px must be a whole number, 0 to 256, is '3' \(str\)"),
        (lambda: Mask(grow_px=2**31), ValueError, r"Mask\.grow_px must be a whole number, 0 to 256, is 2147483648"),
        (lambda: Mask(threshold=True), TypeError, r"Mask\.threshold must be a number, .*, is True"),
        (lambda: Mask(invert="no"), TypeError, r"Mask\.invert must be True or False, is 'no' \(str\)"),
        (lambda: Outpaint(left=1.5), TypeError, r"Outpaint\.left must be a whole number, 0 to 4096, is 1\.5"),
        (lambda: Outpaint(aspect=1.5), TypeError, r"Outpaint\.aspect must be a str such as \"16:9\", is 1\.5"),
        (lambda: Output(quality="90"), TypeError, r"Output\.quality must be a whole number, 1 to 100"),
        (lambda: Output(omit=3), TypeError, r"Output\.omit must be a list or tuple of 'cutout', 'mask', is 3"),
        (lambda: Output(omit=[None]), ValueError, r"Output\.omit must be a list or tuple"),
        (lambda: made(Mask, grow=3), TypeError, r"'grow'; did you mean 'grow_px'\?"),
        (lambda: made(Outpaint, rigth=3), TypeError, r"'rigth'; did you mean 'right'\?"),
        (lambda: asked(steps="9"), TypeError, r"steps must be a whole number, usually 10 to 50, is '9' \(str\)"),
        (lambda: asked(steps=True), TypeError, "steps must be a whole number, usually 10 to 50, is True"),
        (lambda: asked(steps=2**31), ValueError, "steps must be .* is 2147483648"),
        (lambda: asked(seed=-1), ValueError, "seed must be a whole number, 0 to 4294967295, is -1"),
        (lambda: asked(strength="1"), TypeError, r"strength must be a number, 0\.0 to 1\.0, is '1' \(str\)"),
        (lambda: asked(guidance_scale=10**400), ValueError, "guidance_scale must be a number"),
        (lambda: asked(prompt=3), TypeError, "prompt must be a str of 1 to 2,000 characters, is 3"),
        (lambda: asked(prompt="\ud800"), ValueError, "prompt must be .* without lone surrogates"),
        (lambda: asked(expand_prompt="no"), TypeError, "expand_prompt must be True or False"),
        (lambda: asked(experiment=None), TypeError, r"experiment must be a str, an id of experiments\(\), is None"),
        (lambda: asked(request_id=7), TypeError, "request_id must be a str of 1 to 64 letters"),
        (lambda: asked(references="photo.jpg"), TypeError, "references must be a list of pictures, is str"),
        (lambda: asked(strength=b"1" * 10_000), TypeError, r"is b'1{20,}\.\.\.1{20,}' \(bytes\)$"),
    ],
)
def test_a_value_at_fault_is_named_with_its_range(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def made(kind: Any, **fields: Any) -> Any:
    return kind(**fields)


def asked(**options: Any) -> edit_pb2.EditRequest:
    make: Any = edit_request
    request: edit_pb2.EditRequest = make(b"x", **{"experiment": "e", **options})
    return request


def test_numbers_of_numpy_are_numbers() -> None:
    sent = asked(
        steps=np.int64(20),
        seed=np.uint32(2**32 - 1),
        strength=np.float32(0.5),
        guidance_scale=3,
        expand_prompt=np.True_,
        postprocess=np.False_,
        mask_options=Mask(grow_px=np.int16(3), invert=np.True_),
    )
    assert (sent.steps, sent.seed, sent.strength, sent.guidance_scale) == (20, 2**32 - 1, 0.5, 3.0)
    assert sent.expand_prompt
    assert sent.postprocess == edit_pb2.POSTPROCESS_OFF
    assert (sent.mask_options.grow_px, sent.mask_options.invert) == (3, True)


def test_what_is_left_out_is_a_tuple_so_that_an_output_can_be_a_key() -> None:
    assert Output(omit=["mask"]) == Output(omit=("mask",))
    assert {Output(omit=["mask"]): 1}[Output(omit=("mask",))] == 1
    assert Output(omit=None).omit == ()  # type: ignore[arg-type]


def test_the_help_of_a_value_names_its_choices() -> None:
    for value, kinds in ((Mask, [Subject]), (Output, [Format, Omit]), (EditStatus, [State])):
        for choice in [choice for kind in kinds for choice in get_args(kind)]:
            assert f'"{choice}"' in (inspect.getdoc(value) or "")


def test_the_package_lists_its_names() -> None:
    assert {*imgedit.__all__, "errors"} <= set(dir(imgedit))
    assert imgedit.errors.ImgeditError.__module__ == "imgedit.errors"
    described = inspect.getdoc(imgedit) or ""
    shown = dict(inspect.getmembers(imgedit))
    for name in imgedit.__all__:
        assert name in shown
        assert name.startswith("__") or name in described


def test_a_value_of_another_kind_is_refused_and_a_message_is_taken() -> None:
    make: Any = edit_request
    with pytest.raises(TypeError, match=r"mask_options must be an imgedit\.Mask, is Outpaint"):
        make(b"", experiment="e", mask_options=Outpaint(left=1))
    sent = make(b"", experiment="e", mask_options=edit_pb2.MaskOptions(grow_px=3))
    assert sent == make(b"", experiment="e", mask_options=Mask(grow_px=3), request_id=sent.request_id)


def test_loras_are_names_values_or_messages() -> None:
    make: Any = edit_request
    given = ["ink", imgedit.Lora("oil", 0.5), lora_pb2.LoraUse(name="neon")]
    sent = make(b"", experiment="e", loras=given).loras
    assert [(one.name, one.scale if one.HasField("scale") else None) for one in sent] == [
        ("ink", 1.0),
        ("oil", 0.5),
        ("neon", None),
    ]
    for wrong in ("ink", {"ink": 0.5}, 7, [7], [None]):
        with pytest.raises(TypeError, match="loras"):
            make(b"", experiment="e", loras=wrong)
    for arguments in ((7,), ("ink", "strong"), ("ink", None)):
        with pytest.raises(TypeError, match=r"Lora\."):
            imgedit.Lora(*arguments)


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
