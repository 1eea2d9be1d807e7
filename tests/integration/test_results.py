"""Several results of one request over real gRPC.

They share stages, answer as they finish, count for the limits and end together.
"""

from __future__ import annotations

import asyncio
import io
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from imgedit.call_errors import error_of
from imgedit.errors import DeadlineExceeded, ImgeditError, InvalidArgument, RequestIdInUse, TooManyEdits, from_status
from imgedit.imaging import provenance
from imgedit.inference.v1 import steps_pb2
from imgedit.result import single_results
from imgedit.v1 import edit_pb2

from .scripted import all_of, eventually, kind, picture, request, world

pytestmark = pytest.mark.slow


async def failure(call: Any) -> ImgeditError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_of(caught.value, "here")


def colour(data: bytes) -> int:
    """Of the painted half of a picture: the seed decides it."""
    return int(np.asarray(Image.open(io.BytesIO(data)))[0, -1, 0])


def results_of(events: list[edit_pb2.EditEvent]) -> dict[int, edit_pb2.EditResponse]:
    return {event.index: event.result for event in events if event.HasField("result")}


async def test_results_share_everything_but_the_painting_and_their_seeds_count_up() -> None:
    async with world() as running:
        running.fill.gate.clear()
        edit = asyncio.ensure_future(running.stub.Edit(request(n=3, postprocess="POSTPROCESS_OFF")))
        await eventually(lambda: running.fill.running == 3)
        running.fill.gate.set()
        answer = await edit
        assert (running.segmentation.calls, running.fill.calls) == (1, 3)
        assert sorted(sent.seed for sent in running.fill.requests) == [7, 8, 9]
        assert (answer.seed, [further.seed for further in answer.further_results]) == (7, [8, 9])
        singles = list(single_results(answer))
        assert [colour(single.output_image) for single in singles] == [7, 8, 9]
        assert [single.effective.seed for single in singles] == [7, 8, 9]
        alone = await running.stub.Edit(request(seed=8, postprocess="POSTPROCESS_OFF"))
        assert alone.output_image == singles[1].output_image
        assert alone.mask_image == answer.mask_image
        assert alone.background_removed_image == answer.background_removed_image
        assert not alone.further_results
        record = provenance.read_record(singles[1].output_image)
        assert record is not None
        assert (record.request["seed"], "n" in record.request) == (8, False)


async def test_a_stream_carries_each_result_as_it_finishes() -> None:
    async with world() as running:
        gates = [asyncio.Event() for _ in range(2)]
        running.fill.gates = {7: gates[0], 8: gates[1]}
        stream = aiter(running.stub.EditStream(request(n=2)))
        events: list[edit_pb2.EditEvent] = []
        gates[1].set()
        while not results_of(events):
            events.append(await anext(stream))
        assert list(results_of(events)) == [1]
        assert running.fill.running == 1
        gates[0].set()
        events += await all_of(stream)
        found = results_of(events)
        assert {index: result.seed for index, result in found.items()} == {0: 7, 1: 8}
        assert all(not result.further_results and result.elapsed_time > 0 for result in found.values())
        assert {event.index for event in events if kind(event) == "progress"} == {0, 1}
        assert [event.stage.name for event in events if kind(event) == "stage"].count("segment") == 1


async def test_the_results_of_a_kept_answer_come_one_by_one_and_by_get_edit_together() -> None:
    async with world() as running:
        asked = request(n=2, request_id="two")
        whole = await running.stub.Edit(asked)
        again = results_of(await all_of(running.stub.EditStream(asked)))
        assert [again[index].output_image for index in (0, 1)] == [
            whole.output_image,
            whole.further_results[0].output_image,
        ]
        assert running.fill.calls == 2
        found = await running.stub.GetEdit(edit_pb2.GetEditRequest(request_id="two"))
        assert found.result == whole
        error = await failure(running.stub.Edit(request(n=3, request_id="two")))
        assert isinstance(error, RequestIdInUse)


async def test_results_beyond_the_largest_answer_are_left_out_by_name_and_a_stream_has_them_all() -> None:
    asked = request(n=4, input_image=picture(1000, 800), request_id="four")
    async with world(max_send_bytes=3_400_000) as running:
        whole = await running.stub.Edit(asked)
        assert len(whole.output_image) > 1_000_000
        kept = [whole.seed, *(further.seed for further in whole.further_results)]
        left_out = [seed for seed in (7, 8, 9, 10) if seed not in kept]
        assert kept == [7, 8, 9, 10][: len(kept)]
        [warning] = [text for text in whole.warnings if text.startswith("further_results: ")]
        assert f"{len(left_out)} of 4 results (seed {', '.join(map(str, left_out))}) left out" in warning
        assert "EditStream" in whole.korean_warnings[list(whole.warnings).index(warning)]
        assert whole.ByteSize() <= 3_400_000
    async with world(max_send_bytes=3_400_000) as running:
        found = results_of(await all_of(running.stub.EditStream(asked)))
        assert {index: result.seed for index, result in found.items()} == {0: 7, 1: 8, 2: 9, 3: 10}
        again = results_of(await all_of(running.stub.EditStream(asked)))
        assert [result.seed for result in again.values()] == kept


async def test_a_second_caller_joins_all_results_while_they_run() -> None:
    async with world() as running:
        running.fill.gate.clear()
        asked = request(n=2, request_id="two")
        first = asyncio.ensure_future(running.stub.Edit(asked))
        await eventually(lambda: running.fill.running == 2)
        second = asyncio.ensure_future(all_of(running.stub.EditStream(asked)))
        running.fill.gate.set()
        whole, events = await asyncio.gather(first, second)
        assert results_of(events)[1].output_image == whole.further_results[0].output_image
        assert running.fill.calls == 2


async def test_a_cancel_ends_all_results() -> None:
    async with world() as running:
        running.fill.gate.clear()
        edit = asyncio.ensure_future(all_of(running.stub.EditStream(request(n=3, request_id="three"))))
        await eventually(lambda: running.fill.running == 3)
        await running.stub.CancelEdit(edit_pb2.CancelEditRequest(request_id="three"))
        assert kind((await edit)[-1]) == "error"
        await eventually(lambda: running.fill.cancelled == 3)


async def test_a_failed_result_ends_the_others_and_is_told_once() -> None:
    async with world() as running:
        running.fill.gate.clear()
        running.fill.faults = [None, grpc.StatusCode.INVALID_ARGUMENT]
        events = await all_of(running.stub.EditStream(request(n=3)))
        assert [kind(event) for event in events].count("error") == 1
        assert from_status(events[-1].error).stage == "fill"
        await eventually(lambda: running.fill.running == 0)


async def test_the_deadline_holds_for_all_results_together() -> None:
    async with world() as running:
        running.fill.gate.clear()
        error = await failure(running.stub.Edit(request(n=2), timeout=1.5))
        assert isinstance(error, DeadlineExceeded)
        await eventually(lambda: running.fill.running == 0)


async def test_each_result_counts_as_an_edit_for_the_limits() -> None:
    async with world(max_edits=4) as running:
        running.fill.gate.clear()
        first = asyncio.ensure_future(running.stub.Edit(request(n=3)))
        await eventually(lambda: running.fill.running == 3)
        assert REGISTRY.get_sample_value("imgedit_edits_in_flight") == 3
        assert isinstance(await failure(running.stub.Edit(request(n=2))), TooManyEdits)
        second = asyncio.ensure_future(running.stub.Edit(request()))
        await eventually(lambda: running.fill.running == 4)
        running.fill.gate.set()
        await asyncio.gather(first, second)
    async with world(max_edits=2) as running:
        assert len((await running.stub.Edit(request(n=4))).further_results) == 3, "alone it is always admitted"
        assert REGISTRY.get_sample_value("imgedit_edits_in_flight") == 0
        assert REGISTRY.get_sample_value("imgedit_edit_bytes") == 0


async def test_the_pictures_of_each_result_count() -> None:
    async with world() as running:
        held = []
        for n in (1, 4):
            running.fill.gate.clear()
            edit = asyncio.ensure_future(running.stub.Edit(request(n=n)))
            await eventually(lambda n=n: running.fill.running == n)
            held.append(REGISTRY.get_sample_value("imgedit_edit_bytes") or 0)
            running.fill.gate.set()
            await edit
        own = 64 * 48 * 28
        assert held[1] - held[0] == pytest.approx(3 * own, abs=10)


async def test_an_estimate_counts_every_result() -> None:
    async with world() as running:
        running.fill.estimate = steps_pb2.JobEstimate(position=1, queue_seconds=4, work_seconds=8)
        found = await running.stub.EstimateEdit(request(n=3))
        assert (found.seconds, found.queue_seconds) == (28, 4)


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"n": 0}, "n", "1 to 4"),
        ({"n": 5}, "n", "1 to 4"),
        ({"n": -1}, "n", "1 to 4"),
        ({"n": 2, "seed": 2**32 - 1}, "seed", "must leave room for n seeds"),
        ({"n": 2, "experiment_id": "ben2", "prompt": "", "seed": None}, "n", "no use for it"),
    ],
)
async def test_what_cannot_be_made_is_refused_by_name(fields: dict[str, Any], field: str, said: str) -> None:
    async with world() as running:
        error = await failure(running.stub.Edit(request(**fields)))
        assert isinstance(error, InvalidArgument)
        assert [violation.field for violation in error.violations] == [field]
        assert said in error.message
        assert running.fill.calls == 0
