"""Requests of many values are refused before they are parsed.

Parsed, they take many times their bytes.
"""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError, Message

from imgedit.errors import InvalidArgument
from imgedit.inference.v1 import image_pb2, qwen_edit_pb2, segmentation_pb2
from imgedit.v1 import edit_pb2
from services.common.messages import MAX_VALUES, bounded

Qwen = qwen_edit_pb2.QwenEditRequest
Segment = segmentation_pb2.SegmentRequest
Edit = edit_pb2.EditRequest

MANY: list[tuple[Message, type[Message]]] = [
    (Qwen(images=[image_pb2.Image()] * (MAX_VALUES + 1)), Qwen),
    (Segment(outputs=[segmentation_pb2.SEGMENT_OUTPUT_MASK] * (MAX_VALUES + 1)), Segment),
    (Edit(reference_images=[b""] * (MAX_VALUES + 1)), Edit),
    (Edit(output=edit_pb2.OutputOptions(omit=[edit_pb2.OUTPUT_OMIT_MASK] * (MAX_VALUES + 1))), Edit),
]


@pytest.mark.parametrize(("message", "of"), MANY, ids=["messages", "packed", "bytes", "nested"])
def test_many_values_are_refused(message: Message, of: type[Message]) -> None:
    with pytest.raises(InvalidArgument, match=f"more than {MAX_VALUES} values"):
        bounded(of.FromString)(message.SerializeToString())


def test_unknown_fields_count_too() -> None:
    varint, fixed32, fixed64, group = (
        b"\xf8\x01\x00",
        b"\xfd\x01" + bytes(4),
        b"\xf9\x01" + bytes(8),
        b"\xfb\x01\xfc\x01",
    )
    for field in (varint, fixed32, fixed64, group):
        with pytest.raises(InvalidArgument, match="values"):
            bounded(Edit.FromString)(field * (MAX_VALUES + 1))


def test_a_request_with_large_pictures_is_parsed() -> None:
    picture = image_pb2.Image(data=bytes(2**20), encoding=image_pb2.ENCODING_RAW_L8, width=1024, height=1024)
    sent = Qwen(images=[picture] * 3, prompt="a" * 2000, mask=picture)
    assert bounded(Qwen.FromString)(sent.SerializeToString()) == sent


@pytest.mark.parametrize("end", [b"\x80", b"\xff" * 20, b"\x0a\xff\xff\xff\x7f", b"\x0f", b"\x0a"])
def test_what_is_cut_off_or_malformed_is_no_message(end: bytes) -> None:
    large = Qwen(prompt="a" * 2 * MAX_VALUES).SerializeToString()
    for data in (large + end, end):
        with pytest.raises(DecodeError):
            bounded(Qwen.FromString)(data)
