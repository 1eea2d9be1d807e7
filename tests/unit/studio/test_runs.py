"""One request with several results: its events, its end, and its ids."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

from PIL import Image

from imgedit.errors import QueueFull
from imgedit.request import EditOptions
from imgedit.v1 import edit_pb2
from studio.gallery import saved
from studio.gallery.store import Entry
from studio.input_images import InputImage, open_image, webp
from studio.runs import Run, Task, tasks_of

OPTIONS: EditOptions = {"experiment": "e", "prompt": "a park", "seed": 5, "n": 3}
SECONDS = 30


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def picture() -> InputImage:
    view = webp(Image.new("RGB", (20, 20)))
    return InputImage("a.png", png(), 20, 20, "PNG", view, view)


class Client:
    """A server that sends these events, then fails if it is told to."""

    def __init__(self, events: list[edit_pb2.EditEvent], end: QueueFull | None = None) -> None:
        self.events, self.end = events, end
        self.requests: list[edit_pb2.EditRequest] = []
        self.timeouts: list[float] = []
        self.cancelled: list[str] = []

    def edit_stream(self, request: edit_pb2.EditRequest, *, timeout: float) -> Iterator[edit_pb2.EditEvent]:
        self.requests.append(request)
        self.timeouts.append(timeout)
        for event in self.events:
            event.request_id = request.request_id
            yield event
        if self.end is not None:
            raise self.end

    def cancel(self, request_id: str, *, timeout: float) -> None:
        self.cancelled.append(request_id)


def result(index: int, request_id: str = "") -> edit_pb2.EditEvent:
    answer = edit_pb2.EditResponse(
        request_id=request_id, output_image=png(), seed=5 + index, effective={"feature_id": "inpainting", "steps": 9}
    )
    return edit_pb2.EditEvent(index=index, result=answer)


def ended(client: Client, tasks: list[Task]) -> Run:
    run, over = Run(tasks), threading.Event()
    run.start(client, SECONDS, on_end=over.set)
    assert over.wait(SECONDS)
    return run


def test_the_results_of_one_request_end_one_by_one_and_share_its_first_stages() -> None:
    tasks = tasks_of(picture(), OPTIONS)
    shared = edit_pb2.EditEvent(stage={"name": "segment", "index": 1, "count": 4})
    own = edit_pb2.EditEvent(index=2, progress={"stage": "fill", "step": 3, "steps": 9})
    client = Client([shared, own, result(2), result(0), result(1)])
    ended(client, tasks)
    assert len(client.requests) == 1
    assert client.requests[0].n == 3
    assert client.timeouts == [3 * SECONDS]
    assert tasks[2].progress.count == 4
    assert tasks[2].progress.step == 3
    assert [task.result.answer.seed for task in tasks if task.result] == [5, 6, 7]
    assert [task.state for task in tasks] == ["done"] * 3


def test_the_error_of_a_request_ends_the_results_that_have_not_come() -> None:
    tasks = tasks_of(picture(), OPTIONS)
    ended(Client([result(1)], QueueFull("full")), tasks)
    assert [task.state for task in tasks] == ["failed", "done", "failed"]
    tasks = tasks_of(picture(), OPTIONS)
    error = edit_pb2.EditEvent(error={"code": 8, "message": "full"})
    ended(Client([result(2), error]), tasks)
    assert [task.state for task in tasks] == ["failed", "failed", "done"]


def test_a_request_with_several_results_is_cancelled_once() -> None:
    tasks, client = tasks_of(picture(), OPTIONS), Client([])
    run = Run(tasks)
    begun, over = threading.Event(), threading.Event()

    def wait_for_the_cancel(request: edit_pb2.EditRequest, *, timeout: float) -> Iterator[edit_pb2.EditEvent]:
        begun.set()
        assert over.wait(SECONDS)
        yield from ()

    client.edit_stream = wait_for_the_cancel  # type: ignore[method-assign]
    has_ended = threading.Event()
    run.start(client, SECONDS, on_end=has_ended.set)
    assert begun.wait(SECONDS)
    run.cancel()
    over.set()
    assert has_ended.wait(SECONDS)
    assert client.cancelled == [tasks[0].request_id]
    assert [task.state for task in tasks] == ["cancelled"] * 3


def test_a_run_that_is_cancelled_before_it_begins_sends_nothing() -> None:
    tasks, client = tasks_of(picture(), OPTIONS), Client([])
    run, over = Run(tasks), threading.Event()
    run.cancel()
    run.start(client, SECONDS, on_end=over.set)
    assert over.wait(SECONDS)
    assert client.requests == []
    assert [task.state for task in tasks] == ["cancelled"] * 3


def test_results_of_one_request_have_ids_of_their_own_also_in_the_gallery() -> None:
    tasks = tasks_of(picture(), OPTIONS)
    ended(Client([result(index, "r1") for index in range(3)]), tasks)
    assert len({task.id for task in tasks}) == 3
    assert len({task.request_id for task in tasks}) == 1
    assert tasks[2].result is not None
    assert tasks[2].result.id == "r1-2"
    draft = saved.draft(tasks[2].result)
    assert draft.request_id == "r1-2"
    entry = Entry("id", draft.request_id, 0.0, "e", "inpainting", "", False, 0, b"", draft.details)
    again = saved.restored(entry, draft.files, number=1, visit="")
    assert (again.id, again.answer.seed, again.options) == ("r1-2", 7, OPTIONS)


def test_an_uploaded_picture_is_the_source_of_all_results() -> None:
    source = open_image("a.png", png())
    tasks = tasks_of(source, {"experiment": "e"})
    assert [(task.index, task.source) for task in tasks] == [(0, source)]
