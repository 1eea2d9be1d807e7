"""The expected time of an edit: the question, its cache and its text."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from imgedit.errors import InvalidArgument
from imgedit.imaging import containers
from imgedit.request import EditOptions
from imgedit.result import EditEstimate
from studio import estimates
from studio.estimates import Estimates, estimate_text
from studio.text import Words

OPTIONS: EditOptions = {"experiment": "e", "prompt": "a park", "steps": 20}
FOUND = EditEstimate(40.0, 10.0, 2)
SECONDS = 30


class Client:
    """A server that counts its questions."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[tuple[bytes, dict[str, Any]]] = []
        self.error = error
        self.may_answer = threading.Event()
        self.may_answer.set()

    def estimate(self, image: bytes, *, timeout: float, **options: Any) -> EditEstimate:
        assert timeout == estimates.TIMEOUT_SECONDS
        self.asked.append((image, options))
        assert self.may_answer.wait(SECONDS)
        if self.error is not None:
            raise self.error
        return FOUND


def test_a_question_sends_a_blank_image_of_the_size_and_is_asked_once() -> None:
    client, known = Client(), Estimates()
    options: EditOptions = {**OPTIONS, "references": [b"x" * 10_000_000]}
    first = known.ask(client, (3000, 2000), [(64, 48)], {**options, "seed": 1})
    assert first.result(SECONDS) == FOUND
    again = known.ask(client, (3000, 2000), [(64, 48)], {**options, "seed": 2, "preview_every": 4})
    assert again.result(SECONDS) == FOUND
    [(image, asked)] = client.asked
    header = containers.read_header(image)
    assert header is not None
    assert (header.width, header.height) == (3000, 2000)
    assert len(image) < 10_000
    [reference] = asked.pop("references")
    assert len(reference) < 1000
    assert asked == OPTIONS
    known.ask(client, (3000, 2000), [(64, 48)], {**options, "steps": 21}).result(SECONDS)
    assert len(client.asked) == 2


def test_an_answer_is_current_for_some_seconds_only() -> None:
    now = [0.0]
    client, known = Client(), Estimates(lambda: now[0])
    for seconds in (0.0, estimates.KEPT_SECONDS, estimates.KEPT_SECONDS + 0.1):
        now[0] = seconds
        known.ask(client, (64, 64), [], OPTIONS).result(SECONDS)
    assert len(client.asked) == 2


def test_a_refusal_is_no_answer_and_no_error() -> None:
    client, known = Client(InvalidArgument("no")), Estimates()
    assert known.ask(client, (64, 64), [], OPTIONS).result(SECONDS) is None
    known.ask(client, (64, 64), [], OPTIONS).result(SECONDS)
    assert len(client.asked) == 1


def test_a_slow_server_is_not_asked_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimates, "MOST", 3)
    client, known = Client(), Estimates()
    client.may_answer.clear()
    asked = [known.ask(client, (64, 64), [], {**OPTIONS, "steps": steps}) for steps in range(10, 15)]
    assert [found.done() and found.result() is None for found in asked] == [False] * 3 + [True] * 2
    client.may_answer.set()
    assert [found.result(SECONDS) for found in asked] == [FOUND] * 3 + [None] * 2


@pytest.mark.parametrize(
    ("found", "count", "korean", "english"),
    [
        (None, 1, "", ""),
        (EditEstimate(None, None, 0), 1, "", ""),
        (EditEstimate(None, None, 2), 1, "앞에 2건", "2 ahead"),
        (FOUND, 1, "약 40초 · 앞에 2건", "about 40 s · 2 ahead"),
        (EditEstimate(0.2, 0.0, 0), 1, "약 1초", "about 1 s"),
        (EditEstimate(59.7, 0.0, 0), 1, "약 1분 0초", "about 1 min 0 s"),
        (FOUND, 3, "약 1분 40초 · 앞에 2건", "about 1 min 40 s · 2 ahead"),
    ],
)
def test_an_estimate_is_said_in_the_pages_language(
    found: EditEstimate | None, count: int, korean: str, english: str
) -> None:
    assert estimate_text(Words("ko"), found, count) == korean
    assert estimate_text(Words("en"), found, count) == english
