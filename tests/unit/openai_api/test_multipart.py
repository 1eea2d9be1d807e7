"""A form is the same however its bytes come, and never holds more than its limits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgedit.errors import InvalidArgument, RequestTooLarge
from services.openai_api import multipart
from services.openai_api.multipart import Form, Limits

BOUNDARY = "xyz"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
LIMITS = Limits(max_bytes=4096, max_parts=8, max_field_bytes=64)


def body(fields: dict[str, str], files: dict[str, bytes]) -> bytes:
    parts = [(f'name="{name}"', text.encode()) for name, text in fields.items()]
    parts += [(f'name="{name}"; filename="a.png"', data) for name, data in files.items()]
    head = "--{}\r\nContent-Disposition: form-data; {}\r\n\r\n"
    made = [head.format(BOUNDARY, name).encode() + content + b"\r\n" for name, content in parts]
    return b"".join(made) + f"--{BOUNDARY}--\r\n".encode()


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


CONTENT = st.binary(max_size=200).filter(lambda data: BOUNDARY.encode() not in data)


@settings(max_examples=40, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=16).filter(lambda text: BOUNDARY not in text),
    file=CONTENT | st.sampled_from([b"\r\n--", b"\r\n--x", b"\r", b"--xy\r\n\r\n", b"\r\n" * 9]),
    size=st.integers(1, 300),
)
async def test_a_form_is_the_same_in_pieces_of_any_size(text: str, file: bytes, size: int) -> None:
    found = await multipart.read_form(TYPE, pieces(body({"prompt": text}, {"image": file}), size), LIMITS)
    assert found == Form({"prompt": [text]}, {"image": [file]})


async def test_reading_ends_with_the_piece_that_goes_beyond_the_limit() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield body({}, {"image": b""})[:-20]
        while True:
            taken += 100
            yield b"x" * 100

    with pytest.raises(RequestTooLarge, match="at most"):
        await multipart.read_form(TYPE, endless(), LIMITS)
    assert taken <= LIMITS.max_bytes + 100


async def test_a_part_may_be_told_by_a_name_beyond_ascii() -> None:
    found = await multipart.read_form(TYPE, pieces(body({"이름": "값"}, {}), 7), LIMITS)
    assert found.fields == {"이름": ["값"]}


async def test_headers_without_end_are_refused() -> None:
    bomb = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=".encode() + b"a" * 10_000
    with pytest.raises((InvalidArgument, RequestTooLarge)):
        await multipart.read_form(TYPE, pieces(bomb, 512), Limits(1_000_000, 8, 64))
