"""Pictures in responses, result URLs, and declared transparency."""

from __future__ import annotations

import base64
import io
import itertools

import pytest
from PIL import Image

from imgedit.errors import RequestTooLarge
from services.openai_api import responses
from services.openai_api.responses import Base64
from services.openai_api.result_urls import Results
from services.openai_api.transparency import may_be_transparent


@pytest.mark.parametrize("size", [0, 1, 2, 3, 196_607, 196_608, 196_609, 1_000_000])
def test_base64_in_slices_is_that_of_the_whole_and_as_long_as_was_said(size: int) -> None:
    data = bytes(itertools.islice(itertools.cycle(range(251)), size))
    parts = [b"<", Base64(data), data, b">"]
    pieces = list(responses.slices(parts))
    assert b"".join(pieces) == b"<" + base64.b64encode(data) + data + b">"
    assert responses.length(parts) == sum(map(len, pieces))
    assert max(map(len, pieces)) <= 2**18


def test_results_behind_urls_are_bounded_in_bytes_the_oldest_go_first() -> None:
    kept = Results(seconds=60, max_bytes=100)
    first, second = kept.put(b"a" * 60, "png"), kept.put(b"b" * 40, "jpeg")
    assert (kept.get(first).data, kept.get(second).format) == (b"a" * 60, "jpeg")
    third = kept.put(b"c" * 50, "webp")
    assert kept.get(first) is None
    assert kept.get(second) is not None
    assert kept.get(third) is not None
    with pytest.raises(RequestTooLarge, match="at most"):
        kept.put(b"d" * 101, "png")


def test_results_of_a_caller_with_many_make_room_before_those_of_others() -> None:
    kept = Results(seconds=60, max_bytes=100)
    bobs = kept.put(b"b" * 20, "png", "bob")
    many = [kept.put(b"a" * 20, "png", "alice") for _ in range(8)]
    assert kept.get(bobs) is not None
    assert [kept.get(name) is not None for name in many] == [False] * 4 + [True] * 4


def test_results_behind_urls_end_with_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    kept = Results(seconds=10, max_bytes=100)
    name = kept.put(b"a", "png")
    now += 9
    assert kept.get(name) is not None
    now += 2
    assert kept.get(name) is None
    assert kept.get("nobody.png") is None


def test_names_of_results_cannot_be_guessed() -> None:
    kept = Results(seconds=10, max_bytes=1000)
    names = {kept.put(b"a", "png") for _ in range(50)}
    assert len(names) == 50
    assert min(len(name) for name in names) >= 43 + len(".png")


def saved(mode: str, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (20, 20)).save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved("RGB", "PNG"), False),
        (saved("L", "PNG"), False),
        (saved("RGBA", "PNG"), True),
        (saved("LA", "PNG"), True),
        (saved("P", "PNG"), False),
        (saved("P", "PNG", transparency=0), True),
        (saved("RGB", "JPEG"), False),
        (saved("RGB", "WEBP"), False),
        (saved("RGB", "WEBP", lossless=True), False),
        (saved("RGBA", "WEBP"), True),
        (saved("RGBA", "WEBP", lossless=True), True),
        (b"", False),
        (b"RIFF", False),
        (b"\x89PNG", False),
    ],
)
def test_transparency_is_told_from_the_first_bytes(data: bytes, expected: bool) -> None:
    assert may_be_transparent(data) is expected
