"""The line of a visit: one run at a time, in order, without a browser."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from imgedit.errors import QueueFull
from imgedit.request import EditOptions
from imgedit.v1 import edit_pb2
from studio import names
from studio.batch import Batch
from studio.input_images import InputImage
from studio.line import Job, Line
from studio.runs import Run, Task
from studio.session import Session
from studio.text import Words

PICTURE = InputImage("a.png", b"x" * 100, 1, 1, "PNG", b"", b"")
SECONDS = 30
"""Longest wait; all of them end at once."""


class Client:
    """A server whose edits fail when a test lets them; it notes which ones have begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.has_begun, self.may_end = threading.Semaphore(0), threading.Semaphore(0)

    def edit_stream(self, request: edit_pb2.EditRequest, *, timeout: float) -> Iterator[edit_pb2.EditEvent]:
        self.begun.append(request.prompt)
        self.has_begun.release()
        assert self.may_end.acquire(timeout=SECONDS)
        raise QueueFull("full")
        yield

    def cancel(self, request_id: str, *, timeout: float) -> None:
        self.cancelled.append(request_id)
        self.may_end.release()


def job(prompt: str) -> Job:
    options: EditOptions = {"experiment": "e", "prompt": prompt}
    return Job(Run([Task(PICTURE, options)]))


def ended(line: Line, client: Client) -> list[Job]:
    """Let the running edit end, and wait for it."""
    running = line.running
    assert running
    client.may_end.release()
    assert running.run._thread
    running.run._thread.join(SECONDS)
    return line.take_ended()


@pytest.fixture
def client() -> Client:
    return Client()


def test_jobs_run_one_after_the_other_in_the_order_of_the_presses(client: Client) -> None:
    line, jobs = Line(), [job(name) for name in "abc"]
    for each in jobs:
        line.add(each, client, SECONDS)
    assert (line.running, line.waiting) == (jobs[0], jobs[1:])
    assert client.has_begun.acquire(timeout=SECONDS)
    assert client.begun == ["a"]
    for place in range(3):
        assert ended(line, client) == [jobs[place]]
    assert client.begun == ["a", "b", "c"]
    assert (line.running, line.current, line.jobs) == (None, None, [])
    assert [each.run.tasks[0].state for each in jobs] == ["failed"] * 3


def test_an_ended_job_is_current_until_it_is_taken(client: Client) -> None:
    line, only = Line(), job("a")
    line.add(only, client, SECONDS)
    client.may_end.release()
    assert only.run._thread
    only.run._thread.join(SECONDS)
    assert (line.running, line.current) == (None, only)
    assert line.take_ended() == [only]
    assert line.current is None


def test_a_waiting_job_can_leave_and_a_running_one_cannot(client: Client) -> None:
    line, jobs = Line(), [job(name) for name in "abc"]
    for each in jobs:
        line.add(each, client, SECONDS)
    line.leave(jobs[1])
    line.leave(jobs[0])
    assert line.jobs == [jobs[0], jobs[2]]
    ended(line, client)
    ended(line, client)
    assert client.begun == ["a", "c"]


def test_jobs_know_whether_they_had_company_and_what_they_ask(client: Client) -> None:
    line, alone, first, second = Line(), job("a"), job("b"), job("c")
    line.add(alone, client, SECONDS)
    ended(line, client)
    line.add(first, client, SECONDS)
    line.add(second, client, SECONDS)
    assert [each.has_company for each in (alone, first, second)] == [False, True, True]
    assert first.asks_the_same_as(job("b").run.tasks)
    assert not first.asks_the_same_as(job("c").run.tasks)
    ended(line, client)
    ended(line, client)


def test_the_end_of_a_session_cancels_what_runs_and_drops_what_waits(client: Client) -> None:
    session, jobs = Session(), [job("a"), job("b")]
    for each in jobs:
        session.begin(each, client, SECONDS)
    assert session.byte_count == 100  # of the one picture that both edit
    assert client.has_begun.acquire(timeout=SECONDS)
    thread, gone = jobs[0].run._thread, weakref.ref(session)
    assert thread
    del session
    gc.collect()
    assert gone() is None, "a running edit must not keep its session"
    thread.join(SECONDS)
    assert client.cancelled == [jobs[0].run.tasks[0].request_id]
    assert client.begun == ["a"]
    assert [each.run.tasks[0].state for each in jobs] == ["cancelled", "waiting"]


def test_several_batches_wait_in_one_line_with_names_of_their_own(client: Client) -> None:
    session, words = Session(), Words("ko")
    options: list[EditOptions] = [{"experiment": "e", "feature": "inpainting", "prompt": prompt} for prompt in "ab"]
    batches = [Batch([Task(PICTURE, asked)], "a.zip", number) for number, asked in enumerate(options, 1)]
    for batch in batches:
        session.begin(Job(Run(batch.tasks), batch), client, SECONDS)
    assert [job.batch for job in session.line.jobs] == batches
    for number, (batch, prompt) in enumerate(zip(batches, "ab", strict=True), 1):
        assert names.batch_name(words, batch) == f"묶음 {number} · 영역 채우기 · {prompt}"
    ended(session.line, client)
    ended(session.line, client)
    assert client.begun == ["a", "b"]


@pytest.mark.parametrize("is_idle", [True, False])
def test_a_press_clears_old_failures_only_where_nothing_runs(client: Client, is_idle: bool) -> None:
    session = Session()
    if not is_idle:
        session.begin(job("a"), client, SECONDS)
    session.failures.append(("a.png", QueueFull("full")))
    session.failed = QueueFull("full")
    session.begin(job("b"), client, SECONDS)
    assert bool(session.failures) is bool(session.failed) is not is_idle
    while session.line.running:
        ended(session.line, client)
