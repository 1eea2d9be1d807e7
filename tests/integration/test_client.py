"""The client against a real gRPC server of this test's own.

Retries, timeouts, progress, batches, cancelling.
"""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from imgedit import (
    EditClient,
    EditEstimate,
    EditOptions,
    EditResult,
    ManyProgress,
    Mask,
    Outpaint,
    Output,
    Progress,
    SyncEditClient,
    edit_request,
)
from imgedit.client import CancelOutcome
from imgedit.errors import (
    DeadlineExceeded,
    ImgeditError,
    InternalError,
    InvalidArgument,
    QueueFull,
    RequestNotFound,
    RequestTooLarge,
    ServiceUnavailable,
    TooManyEdits,
    from_status,
    to_status,
)
from imgedit.v1 import edit_pb2, edit_pb2_grpc, profile_pb2, progress_pb2

Context = grpc.aio.ServicerContext[edit_pb2.EditRequest, edit_pb2.EditEvent]


LOOKED_UP = {
    "runs": edit_pb2.GetEditResponse(
        state="EDIT_STATE_RUNNING",
        stage=edit_pb2.StageStarted(name="fill", index=2, count=3),
        progress=edit_pb2.StageProgress(stage="fill", step=1, steps=4, eta_seconds=2),
    ),
    "done": edit_pb2.GetEditResponse(state="EDIT_STATE_SUCCEEDED", result=edit_pb2.EditResponse(seed=7)),
    "bad": edit_pb2.GetEditResponse(state="EDIT_STATE_FAILED", error=to_status(InvalidArgument.field("steps", "no"))),
}


@dataclass
class Servicer(edit_pb2_grpc.EditServiceServicer):
    """Answers the first calls with `errors`, one each, and the others well.

    Remembers what it was sent.
    """

    errors: list[ImgeditError] = field(default_factory=list)
    as_event: bool = False
    seconds: float = 0.0
    most_results: int = 4
    seen: list[edit_pb2.EditRequest] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)
    routed: list[object] = field(default_factory=list)

    async def EditStream(self, request: edit_pb2.EditRequest, context: Context) -> AsyncIterator[edit_pb2.EditEvent]:
        self.seen.append(request)
        self._note(context)
        self.deadlines.append(context.time_remaining())
        yield edit_pb2.EditEvent(queued=progress_pb2.Queued(position=3, eta_seconds=7))
        yield edit_pb2.EditEvent(stage=edit_pb2.StageStarted(name="fill", index=2, count=3))
        yield edit_pb2.EditEvent(progress=edit_pb2.StageProgress(stage="fill", step=1, steps=4, eta_seconds=2))
        await asyncio.sleep(self.seconds)
        if self.errors:
            error = self.errors.pop(0)
            if not self.as_event:
                await abort(context, error)
            yield edit_pb2.EditEvent(error=to_status(error))
            return
        for index in reversed(range(min(request.n or 1, self.most_results))):
            answer = edit_pb2.EditResponse(success=True, request_id=request.request_id, seed=7 + index)
            yield edit_pb2.EditEvent(result=answer, index=index)

    async def EditBatch(
        self, request_iterator: AsyncIterator[edit_pb2.EditRequest], context: Context
    ) -> AsyncIterator[edit_pb2.EditEvent]:
        async for request in request_iterator:
            event = edit_pb2.EditEvent(request_id=request.request_id)
            if self.errors:
                event.error.CopyFrom(to_status(self.errors.pop(0)))
            else:
                event.result.success = True
            yield event

    async def CancelEdit(self, request: edit_pb2.CancelEditRequest, context: Context) -> edit_pb2.CancelEditResponse:
        self._note(context)
        if self.errors:
            await abort(context, self.errors.pop(0))
        outcome = edit_pb2.CANCEL_OUTCOME_FINISHED if request.request_id == "old" else edit_pb2.CANCEL_OUTCOME_CANCELLED
        return edit_pb2.CancelEditResponse(request_id=request.request_id, outcome=outcome)

    async def GetEdit(self, request: edit_pb2.GetEditRequest, context: Context) -> edit_pb2.GetEditResponse:
        self._note(context)
        if self.errors:
            await abort(context, self.errors.pop(0))
        if request.request_id not in LOOKED_UP:
            await abort(context, RequestNotFound("not here"))
        return LOOKED_UP[request.request_id]

    async def EstimateEdit(self, request: edit_pb2.EditRequest, context: Context) -> edit_pb2.EstimateEditResponse:
        self.seen.append(request)
        if self.errors:
            await abort(context, self.errors.pop(0))
        return edit_pb2.EstimateEditResponse(seconds=12.5, queue_seconds=4, queue_position=2)

    def _note(self, context: Context) -> None:
        self.routed.append(dict(context.invocation_metadata() or ()).get("x-imgedit-request-id"))

    async def ListExperiments(
        self, request: edit_pb2.ListExperimentsRequest, context: Context
    ) -> edit_pb2.ListExperimentsResponse:
        if self.errors:
            await abort(context, self.errors.pop(0))
        return edit_pb2.ListExperimentsResponse(experiments=[edit_pb2.Experiment(id="one")])


async def abort(context: Context, error: ImgeditError) -> None:
    status = rpc_status.to_status(to_status(error))
    await context.abort(error.code, error.message, status.trailing_metadata or ())


@asynccontextmanager
async def serving(servicer: Servicer) -> AsyncIterator[str]:
    server = grpc.aio.server()
    edit_pb2_grpc.add_EditServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def unavailable(count: int) -> list[ImgeditError]:
    return [ServiceUnavailable("lost") for _ in range(count)]


@pytest.mark.parametrize("as_event", [False, True])
async def test_an_edit_is_sent_again_after_unavailable_under_the_same_id(as_event: bool) -> None:
    servicer = Servicer(unavailable(2), as_event)
    async with serving(servicer) as target, EditClient(target) as client:
        answer = await client.edit(b"x", experiment="e", prompt="p")
    first, *others = servicer.seen
    assert len(others) == 2
    assert all(other == first for other in others)
    assert answer.request_id == first.request_id != ""


async def test_every_edit_has_an_id_of_its_own() -> None:
    servicer = Servicer()
    async with serving(servicer) as target, EditClient(target) as client:
        await client.edit(b"x", experiment="e")
        await client.edit(b"x", experiment="e")
        await client.edit(b"x", experiment="e", request_id="mine")
    ids = [request.request_id for request in servicer.seen]
    assert len(set(ids)) == 3
    assert ids[2] == "mine"


async def test_an_edit_that_is_one_too_many_is_sent_again_as_often_as_it_takes() -> None:
    """More often than `retries`, which is for a server that is lost."""
    servicer = Servicer([TooManyEdits("full", retry_after_seconds=0.01) for _ in range(6)])
    async with serving(servicer) as target, EditClient(target) as client:
        await client.edit(b"x", experiment="e", prompt="p")
    assert len(servicer.seen) == 7
    assert len({request.request_id for request in servicer.seen}) == 1


@pytest.mark.parametrize(("wait", "retries"), [(60.0, 2), (0.01, 0)], ids=["no time is left", "nothing is sent again"])
async def test_an_edit_that_is_one_too_many_is_refused(wait: float, retries: int) -> None:
    servicer = Servicer([TooManyEdits("full", retry_after_seconds=wait)])
    async with serving(servicer) as target, EditClient(target, retries=retries) as client:
        with pytest.raises(TooManyEdits):
            await client.edit(b"x", experiment="e", prompt="p", timeout=30)
    assert len(servicer.seen) == 1


@pytest.mark.parametrize("error", [QueueFull("full", retry_after_seconds=0.01), InvalidArgument.field("steps", "no")])
async def test_nothing_else_is_sent_again(error: ImgeditError) -> None:
    servicer = Servicer([error])
    async with serving(servicer) as target, EditClient(target) as client:
        with pytest.raises(type(error)):
            await client.edit(b"x", experiment="e", prompt="p")
    assert len(servicer.seen) == 1


@pytest.mark.parametrize(("retries", "sent"), [(0, 1), (1, 2), (2, 3)])
async def test_retries_are_counted_and_the_last_error_is_raised(retries: int, sent: int) -> None:
    servicer = Servicer(unavailable(9))
    async with serving(servicer) as target, EditClient(target, retries=retries) as client:
        with pytest.raises(ServiceUnavailable):
            await client.edit(b"x", experiment="e", prompt="p")
    assert len(servicer.seen) == sent


async def test_the_timeout_bounds_all_attempts_together() -> None:
    servicer = Servicer(unavailable(9), seconds=0.3)
    async with serving(servicer) as target, EditClient(target, retries=9) as client:
        started = time.monotonic()
        with pytest.raises((ServiceUnavailable, DeadlineExceeded)):
            await client.edit(b"x", experiment="e", prompt="p", timeout=1.5)
        assert time.monotonic() - started < 2.5
    assert len(servicer.deadlines) >= 2
    assert all(
        later < earlier - 0.3 for earlier, later in zip(servicer.deadlines, servicer.deadlines[1:], strict=False)
    )


async def test_the_wait_that_the_server_asks_for_is_kept() -> None:
    servicer = Servicer([ServiceUnavailable("starting", retry_after_seconds=1.2)])
    async with serving(servicer) as target, EditClient(target) as client:
        started = time.monotonic()
        await client.edit(b"x", experiment="e", prompt="p")
        assert time.monotonic() - started >= 1.2


async def test_lists_and_cancels_are_called_again_too() -> None:
    servicer = Servicer(unavailable(1))
    async with serving(servicer) as target, EditClient(target) as client:
        assert [experiment.id for experiment in await client.experiments()] == ["one"]
        servicer.errors = unavailable(1)
        assert await client.cancel("x") == "cancelled"


@pytest.mark.parametrize(("request_id", "outcome"), [("new", "cancelled"), ("old", "finished")])
async def test_cancelling_says_what_it_found(request_id: str, outcome: CancelOutcome) -> None:
    async with serving(Servicer()) as target, EditClient(target) as client:
        assert await client.cancel(request_id) == outcome


async def test_cancelling_what_nobody_holds_is_an_error_of_its_own() -> None:
    async with serving(Servicer([RequestNotFound("not here")])) as target, EditClient(target) as client:
        with pytest.raises(RequestNotFound):
            await client.cancel("x")


async def test_an_edit_can_be_looked_up() -> None:
    async with serving(Servicer(unavailable(1))) as target, EditClient(target) as client:
        running = await client.get_edit("runs")
        assert (running.state, running.is_over, running.result) == ("running", False, None)
        assert running.progress == Progress("fill", 2, 3, step=1, steps=4, eta_seconds=2)
        over = await client.get_edit("done")
        assert (over.state, over.is_over, over.progress, over.error) == ("succeeded", True, None, None)
        assert over.result is not None
        assert over.result.seed == 7
        failed = await client.get_edit("bad")
        assert (failed.state, type(failed.error)) == ("failed", InvalidArgument)
        with pytest.raises(RequestNotFound):
            await client.get_edit("nowhere")


async def test_several_results_come_as_they_finish_and_together_in_order() -> None:
    async with serving(Servicer()) as target, EditClient(target) as client:
        seen: list[int] = []
        result = await client.edit(b"x", experiment="e", n=3, on_result=lambda one: seen.append(one.seed))
        assert seen == [9, 8, 7]
        assert [one.seed for one in result.results] == [7, 8, 9]
        assert (result.seed, len(result.results[1].results)) == (7, 1)
        alone = await client.edit(b"x", experiment="e", on_result=lambda one: seen.append(one.seed))
        assert (alone.results, seen) == ([alone], [9, 8, 7, 7])
        with pytest.raises(TypeError, match="n must be"):
            await client.edit(b"x", experiment="e", n="two")


async def test_a_stream_without_all_of_its_results_is_a_fault_of_the_server() -> None:
    async with serving(Servicer(most_results=2)) as target, EditClient(target) as client:
        with pytest.raises(InternalError, match="2 of 3 results"):
            await client.edit(b"x", experiment="e", n=3)


async def test_an_edit_is_estimated_with_the_arguments_of_an_edit() -> None:
    servicer = Servicer(unavailable(1))
    async with serving(servicer) as target, EditClient(target) as client:
        options = EditOptions(experiment="e", prompt="a gym", steps=12, request_id="one")
        assert await client.estimate(b"x", **options) == EditEstimate(12.5, 4, 2)
        assert servicer.seen == [edit_request(b"x", **options)] * 2
        with pytest.raises(TypeError, match="steps"):
            await client.estimate(b"x", experiment="e", steps="many")
        assert len(servicer.seen) == 2


async def test_calls_for_an_edit_carry_its_id_by_which_an_edge_finds_its_server() -> None:
    servicer = Servicer()
    async with serving(servicer) as target, EditClient(target) as client:
        answer = await client.edit(b"x", experiment="e")
        await client.cancel("new")
        await client.get_edit("done")
        await client.edit(b"x", experiment="e", request_id="no id, 한글")
    assert servicer.routed == [answer.request_id, "new", "done", None]


async def test_many_pictures_are_edited_in_their_order_and_a_failed_one_ends_no_other(tmp_path: Path) -> None:
    servicer = Servicer()
    told: list[ManyProgress] = []
    async with serving(servicer) as target, EditClient(target) as client:
        found = await client.edit_many(
            [b"one", tmp_path / "missing.png", {"image": b"two", "prompt": "its own", "request_id": "mine"}],
            experiment="e",
            prompt="for all",
            on_progress=told.append,
        )
    assert [type(one).__name__ for one in found] == ["EditResult", "FileNotFoundError", "EditResult"]
    assert {(request.input_image, request.prompt) for request in servicer.seen} == {
        (b"one", "for all"),
        (b"two", "its own"),
    }
    assert isinstance(found[2], EditResult)
    assert found[2].request_id == "mine"
    assert [progress.done for progress in told] == [1, 2, 3]
    assert told[-1] == ManyProgress(done=3, failed=1, total=3)


async def test_no_more_than_max_parallel_edits_run_at_once() -> None:
    class Counting(Servicer):
        running = most = 0

        async def EditStream(
            self, request: edit_pb2.EditRequest, context: Context
        ) -> AsyncIterator[edit_pb2.EditEvent]:
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.01)
            self.running -= 1
            yield edit_pb2.EditEvent(result=edit_pb2.EditResponse(success=True))

    servicer = Counting()
    async with serving(servicer) as target, EditClient(target) as client:
        found = await client.edit_many([b"x"] * 9, experiment="e", max_parallel=3)
    assert len(found) == 9
    assert 1 <= servicer.most <= 3
    async with EditClient(target) as client:
        assert await client.edit_many([], experiment="e") == []


@pytest.mark.parametrize(
    ("asked", "error", "named"),
    [
        ({"stepz": 1}, TypeError, "did you mean 'steps'"),
        ({"max_parallel": 0}, ValueError, "max_parallel must be a whole number, 1 or more, is 0"),
        ({"max_parallel": "2"}, TypeError, r"max_parallel must be a whole number, 1 or more, is '2' \(str\)"),
        ({"images": "photo.jpg"}, TypeError, "images must be a list of pictures, is str"),
        ({"images": b"\x89PNG"}, TypeError, "images must be a list of pictures, is bytes"),
        ({"images": Path("photo.jpg")}, TypeError, "images must be a list of pictures, is PosixPath"),
        ({"images": {"image": b"x"}}, TypeError, "images must be a list of pictures, is dict"),
        ({"images": 3}, TypeError, "images must be a list of pictures, is int"),
        ({"steps": "9"}, TypeError, "steps must be a whole number"),
        ({"references": "photo.jpg"}, TypeError, "references must be a list of pictures, is str"),
        ({"images": [{"image": b"x", "seed": -1}]}, ValueError, "seed must be a whole number, 0 to 4294967295, is -1"),
        ({"images": [b"x", b"y"], "request_id": "one"}, TypeError, "the request_id 'one' is one edit's"),
        ({"images": [{"image": b"x", "timeout": 3}]}, TypeError, "'timeout' is for all pictures together"),
        ({"timeout": -1}, ValueError, "timeout must be a number, above 0 .*, or None for no limit, is -1"),
        ({"on_progress": "show"}, TypeError, "on_progress must be a function, is 'show'"),
        ({"images": [{"prompt": "p"}]}, TypeError, "needs the key 'image'"),
        ({"images": [{"image": b"", "promt": "p"}]}, TypeError, "did you mean 'prompt'"),
    ],
)
async def test_a_mistake_in_the_call_for_many_ends_it_before_the_first_edit(
    asked: dict[str, object], error: type[Exception], named: str
) -> None:
    many: Any = {"images": [b"x"], "experiment": "e", **asked}
    async with EditClient("127.0.0.1:1") as client:
        with pytest.raises(error, match=named):
            await client.edit_many(**many)


WRONG: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda client: client.edit(b"x", experiment="e", steps=10.5), TypeError, "steps must be a whole .*, is 10.5"),
    (lambda client: client.edit(b"x", experiment="e", timeout="3"), TypeError, r"timeout must be .* is '3' \(str\)"),
    (lambda client: client.edit(b"x", experiment="e", timeout=0), ValueError, "timeout must be .*above 0.* is 0"),
    (lambda client: client.edit(b"x", experiment="e", on_event=3), TypeError, "on_event must be a function, is 3"),
    (lambda client: client.get_edit(None), TypeError, "request_id must be a str, is None"),
    (lambda client: client.get_edit("x", timeout="3"), TypeError, "timeout must be"),
    (lambda client: client.cancel(3), TypeError, "request_id must be a str, is 3"),
    (lambda client: client.experiments(timeout=float("nan")), ValueError, "timeout must be .* is nan"),
    (lambda client: client.is_serving(timeout=-1), ValueError, "timeout must be .* is -1"),
]


@pytest.mark.parametrize(("call", "error", "named"), WRONG)
async def test_an_argument_at_fault_is_named_before_anything_is_sent(
    call: Callable[[Any], Any], error: type[Exception], named: str
) -> None:
    async with EditClient("127.0.0.1:1") as client:
        with pytest.raises(error, match=named):
            await call(client)
    with SyncEditClient("127.0.0.1:1") as plain, pytest.raises(error, match=named):
        call(plain)


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"retries": -1}, ValueError, "retries must be a whole number, 0 or more, is -1"),
        ({"retries": "2"}, TypeError, "retries must be"),
        ({"target": 50051}, TypeError, "target must be a str, HOST:PORT, is 50051"),
        ({"token": b"x"}, TypeError, "token must be a str"),
        ({"tls": "yes"}, TypeError, "tls must be True or False, is 'yes'"),
    ],
)
@pytest.mark.parametrize("make", [EditClient, SyncEditClient])
async def test_an_option_of_a_client_at_fault_is_named(
    make: Callable[..., Any], options: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        make(**{"target": "127.0.0.1:1", **options})


async def test_no_timeout_is_no_limit_of_the_clients() -> None:
    servicer = Servicer(unavailable(1))
    async with serving(servicer) as target, EditClient(target) as client:
        assert (await client.edit(b"x", experiment="e", timeout=None)).success
        assert [one.id for one in await client.experiments(timeout=None)] == ["one"]
        assert (await client.get_edit("done", timeout=None)).is_over
        assert await client.cancel("x", timeout=None) == "cancelled"
    assert servicer.deadlines == [None, None]


async def test_a_closed_client_says_so() -> None:
    client = EditClient("127.0.0.1:1")
    await client.close()
    await client.close()
    for call in (
        lambda: client.edit(b"x", experiment="e"),
        lambda: client.edit_many([b"x"], experiment="e"),
        lambda: anext(client.edit_stream(edit_request(b"x", experiment="e"))),
        lambda: client.get_edit("x"),
        lambda: client.estimate(b"x", experiment="e"),
        client.experiments,
        client.is_serving,
    ):
        with pytest.raises(RuntimeError, match=r"^the client is closed$"):
            await call()


async def test_an_error_names_the_options_of_python_and_keeps_the_fields() -> None:
    error = InvalidArgument.field("mask_image", "must have the size of input_image; not with PROFILE_FAST")
    for as_event in (True, False):
        async with serving(Servicer([error], as_event=as_event)) as target, EditClient(target) as client:
            with pytest.raises(
                InvalidArgument, match=r"^mask: must have the size of image; not with 'fast'$"
            ) as caught:
                await client.edit(b"x", experiment="e")
        assert caught.value.message == error.message
        [violation] = caught.value.violations
        assert (violation.field, violation.option) == ("mask_image", "mask")


async def test_a_request_over_the_limit_of_the_transport_is_told_with_both_sizes() -> None:
    async with serving(Servicer()) as target, EditClient(target) as client:
        with pytest.raises(RequestTooLarge, match=r"has 49\.0 MiB, and the client sends 48 MiB at most; make its"):
            await client.edit(bytes(49 * 1024 * 1024), experiment="e")


async def test_a_file_is_read_while_the_loop_goes_on() -> None:
    """The file gives its bytes only once the loop has run meanwhile."""
    went_on = threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert went_on.wait(60)
            return super().read(size)

    async with serving(Servicer()) as target, EditClient(target) as client:
        edit = asyncio.create_task(client.edit(Slow(b"x"), experiment="e"))
        await asyncio.sleep(0)
        went_on.set()
        assert (await edit).success


async def test_progress_tells_the_stage_the_queue_and_the_steps() -> None:
    seen: list[Progress] = []
    async with serving(Servicer()) as target, EditClient(target) as client:
        await client.edit(b"x", experiment="e", on_progress=seen.append)
    assert seen == [
        Progress(waiting=3, eta_seconds=7),
        Progress("fill", 2, 3),
        Progress("fill", 2, 3, step=1, steps=4, eta_seconds=2),
    ]


async def test_a_batch_tells_results_and_errors_apart_by_id() -> None:
    requests = [edit_request(b"x", experiment="e", request_id=str(n)) for n in range(3)]

    async def slowly() -> AsyncIterator[edit_pb2.EditRequest]:
        for request in requests:
            yield request

    for sent in (requests, slowly()):
        async with serving(Servicer([QueueFull("full")])) as target, EditClient(target) as client:
            events = [event async for event in client.edit_batch(sent)]
        assert [event.request_id for event in events] == ["0", "1", "2"]
        assert isinstance(from_status(events[0].error), QueueFull)
        assert all(event.result.success for event in events[1:])


async def in_thread(work: Callable[[SyncEditClient], None], target: str) -> None:
    def run() -> None:
        with SyncEditClient(target) as client:
            work(client)

    await asyncio.to_thread(run)


async def test_the_plain_client_has_all_that_the_asyncio_one_has() -> None:
    def names(cls: type) -> set[str]:
        return {name for name in vars(cls) if not name.startswith("_")}

    assert names(SyncEditClient) == names(EditClient)

    def work(client: SyncEditClient) -> None:
        seen: list[Progress] = []
        assert client.edit(b"x", experiment="e", on_progress=seen.append).success
        assert len(seen) == 3
        request = edit_request(b"x", experiment="e")
        assert [event.WhichOneof("event") for event in client.edit_stream(request)][-1] == "result"
        assert [event.result.success for event in client.edit_batch([request, request])] == [True, True]
        assert next(iter(client.edit_batch([request, request]))).result.success
        assert client.cancel("x") == "cancelled"
        assert client.get_edit("done").state == "succeeded"
        assert client.estimate(b"x", experiment="e").queue_position == 2
        assert [type(one) for one in client.edit_many([b"x", b"y"], experiment="e")] == [EditResult, EditResult]
        assert [experiment.id for experiment in client.experiments()] == ["one"]
        assert not client.is_serving()

    async with serving(Servicer()) as target:
        await in_thread(work, target)


async def test_leaving_a_stream_early_cancels_it() -> None:
    left = asyncio.Event()

    class Slow(Servicer):
        async def EditStream(self, request: object, context: Context) -> AsyncIterator[edit_pb2.EditEvent]:
            yield edit_pb2.EditEvent(queued=progress_pb2.Queued(position=1))
            try:
                await asyncio.sleep(60)
            finally:
                left.set()

    def work(client: SyncEditClient) -> None:
        for _ in client.edit_stream(edit_request(b"x", experiment="e")):
            break

    async with serving(Slow()) as target:
        await in_thread(work, target)
        await asyncio.wait_for(left.wait(), 10)


def test_every_field_of_a_request_has_an_option() -> None:
    message = edit_request(
        b"picture",
        experiment="e",
        feature="f",
        prompt="p",
        expand_prompt=True,
        negative_prompt="",
        negative_scale=2.0,
        steps=20,
        guidance_scale=4.0,
        strength=0.5,
        seed=0,
        profile="fast",
        loras=["ink"],
        n=2,
        mask=b"mask",
        mask_options=Mask(invert=True),
        background="transparent",
        outpaint=Outpaint(left=1),
        references=[b"one", b"two"],
        postprocess=False,
        output=Output(quality=80),
        preview_every=2,
        request_id="id",
        webhook_url="https://hooks.example.com",
    )
    assert {field.name for field, _ in message.ListFields()} == set(edit_pb2.EditRequest.DESCRIPTOR.fields_by_name)
    assert (message.profile, message.background) == (profile_pb2.PROFILE_FAST, edit_pb2.BACKGROUND_TRANSPARENT)


TYPED = """
from pathlib import Path
from typing import Any
import numpy as np
from PIL import Image
from imgedit import EditClient, EditResult, Mask, Output, Progress, SyncEditClient, edit_request

def show(progress: Progress) -> None:
    print(progress.stage, progress.step)

async def main() -> bytes:
    async with EditClient(retries=1) as client:
        answer = await client.edit(
            Path("a.png"), experiment="e", prompt="p", steps=20, background="keep", on_progress=show,
            mask_options=Mask(invert=True), output=Output(format="webp", quality=80), mask=np.zeros((2, 2), bool),
        )
        answer.image().save("b.png")
        found: list[EditResult | Exception] = await client.edit_many([b"", Image.new("L", (1, 1))], experiment="e")
        status = await client.get_edit(answer.request_id)
        print(found, status.state, status.progress and status.progress.step)
        async for event in client.edit_batch([edit_request(b"", experiment="e")]):
            print(event.request_id)
        return answer.output_image

with SyncEditClient() as plain:
    reveal_type(plain.edit(b"", experiment="e").seed)
    reveal_type(plain.cancel("x"))
    plain.edit(b"", prompt="an experiment is needed")
    plain.edit(b"", experiment="e", background="blue")
    plain.edit(b"", experiment="e", output=Output(format="gif"))
    plain.edit(b"", experiment="e", no_such_option=1)
"""


@pytest.mark.slow
def test_the_types_of_the_package_serve_a_caller_under_mypy_strict(tmp_path: Path) -> None:
    (tmp_path / "caller.py").write_text(TYPED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(tmp_path / "caller.py")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=240,
    )
    lines = [line for line in done.stdout.splitlines() if "caller.py" in line]
    assert 'Revealed type is "int"' in lines[0]
    assert "Literal['cancelled'] | Literal['finished']" in lines[1].replace("Union[", "").replace("def (", "")
    errors = [line for line in lines if "error:" in line]
    assert len(errors) == 4, done.stdout
    for error, named in zip(errors, ("experiment", "background", "format", "no_such_option"), strict=True):
        assert named in error


CALLS: tuple[Callable[[EditClient], Awaitable[object]], ...] = (
    lambda client: client.edit(b"x", experiment="e", timeout=3),
    lambda client: client.experiments(timeout=3),
    lambda client: client.cancel("x", timeout=3),
)


@pytest.mark.parametrize("call", CALLS, ids=["edit", "experiments", "cancel"])
async def test_a_server_that_is_not_there_is_named(call: Callable[[EditClient], Awaitable[object]]) -> None:
    async with EditClient("127.0.0.1:1", retries=1) as client:
        with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:1"):
            await call(client)
