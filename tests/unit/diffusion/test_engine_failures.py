"""One job's failure is its own.

Exceptions and exhausted memory, alone and in a batch.
"""

import asyncio
import gc
import logging
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from imgedit.errors import InternalError, InvalidArgument, ModelLoadError, OutOfMemory, ServiceUnavailable
from services.diffusion.engine.engine import Engine
from services.diffusion.engine.failure import without_frames
from services.diffusion.networks import device as devices
from services.diffusion.service import make_diffusion_service
from services.fill.settings import FillSettings
from tests.support.engine import Clockwork, Task, TaskState, fill, fill_spec, finish, with_engine

Jobs = Engine[Any, Any, Any]


@pytest.mark.parametrize("quantum", ["prepare", "step", "decode"])
def test_an_exception_reaches_its_own_caller_and_the_next_job_runs(quantum: str) -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        with pytest.raises(RuntimeError, match="broken"):
            await finish(engine, Task("a", fail_at=quantum))
        assert (await finish(engine, Task("b"))).output == "b after 3"

    with_engine(model, scenario)
    assert model.released == (["b"] if quantum == "prepare" else ["a", "b"])


def test_an_error_of_ours_arrives_as_it_is() -> None:
    refusal = InvalidArgument.field("prompt", "cannot be encoded")

    async def scenario(engine: Jobs) -> None:
        with pytest.raises(InvalidArgument) as caught:
            await finish(engine, Task("a", fail_at="prepare", error=refusal))
        assert caught.value is refusal

    with_engine(Clockwork(), scenario)


@pytest.mark.parametrize("quantum", ["prepare", "step", "decode"])
def test_out_of_memory_is_answered_with_advice_and_the_memory_is_given_back(quantum: str) -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        with pytest.raises(OutOfMemory, match=r"smaller picture .2048 → 1024.*smaller model .*Q6_K or Q4_K") as caught:
            await finish(engine, Task("a", fail_at=quantum, error=MemoryError()))
        for advice in ("메모리가 부족", "이미지 크기를 줄이거나(2048 → 1024)", "더 작은 모델(Q8_0 대신 Q6_K, Q4_K)"):
            assert advice in caught.value.korean
        await finish(engine, Task("b"))

    with_engine(model, scenario)
    assert "free_memory" in model.log


@pytest.mark.parametrize("quantum", ["prepare", "step", "decode"])
def test_a_lone_job_runs_once_more_when_memory_was_given_back(quantum: str) -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        done = await finish(engine, Task("a", fail_at=quantum, error=MemoryError(), failures=1))
        assert done.output == "a after 3"

    with_engine(model, scenario)
    assert model.log.count("free_memory") == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("quantum", ["prepare", "step", "decode", "side task", "free_memory"])
def test_a_lost_device_ends_the_engine_and_waiting_callers_are_told_to_ask_again(quantum: str) -> None:
    class Broken(Clockwork):
        def free_memory(self) -> None:
            if quantum == "free_memory":
                raise RuntimeError("CUDA error: an illegal memory access")

    model = Broken(lost=True)
    lost = RuntimeError("CUDA error: an illegal memory access")

    def side_task(_: Any) -> None:
        raise lost

    async def scenario(engine: Jobs) -> None:
        model.gate.clear()
        error: Exception = MemoryError() if quantum == "free_memory" else lost
        fail_at = "step" if quantum == "free_memory" else quantum
        first = asyncio.create_task(finish(engine, Task("a", fail_at=fail_at, error=error)))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(finish(engine, Task(name))) for name in "bc"]
        if quantum == "side task":
            waiting.append(asyncio.create_task(engine.run_between_steps(side_task)))
        await asyncio.sleep(0.05)
        model.gate.set()
        outcomes = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert all(isinstance(outcome, Exception) for outcome in outcomes)
        assert [type(outcome) for outcome in outcomes[1:3]] == [ServiceUnavailable] * 2
        await asyncio.wait_for(engine.ended_by_itself(), 10)
        assert not engine.alive
        with pytest.raises(ServiceUnavailable, match="lost its device"):
            await finish(engine, Task("d"))

    with_engine(model, scenario)


def test_an_engine_that_is_told_to_end_does_not_end_by_itself() -> None:
    async def scenario(engine: Jobs) -> None:
        await finish(engine, Task("a"))
        await engine.aclose()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.ended_by_itself(), 0.1)

    with_engine(Clockwork(), scenario)


@pytest.mark.parametrize(
    ("message", "works"), [("CUDA error: an illegal memory access", False), ("CUDA out of memory", True), ("", True)]
)
def test_a_device_works_when_a_number_comes_back(message: str, works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def ones(*_: Any, **__: Any) -> torch.Tensor:
        if message:
            raise RuntimeError(message)
        return torch.zeros(1) + 1

    monkeypatch.setattr(torch, "ones", ones)
    assert devices.works(torch.device("cpu")) == works


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_a_workspace_that_cannot_be_had_is_want_of_memory(message: str) -> None:
    assert devices.is_out_of_memory(RuntimeError(message))


def test_a_failing_member_of_a_batch_does_not_take_the_others_along() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        await finish(engine, Task("measure", key="k"))
        model.gate.clear()
        broken = asyncio.create_task(finish(engine, Task("broken", key="k", fail_at="step")))
        await asyncio.sleep(0.01)
        healthy = asyncio.create_task(finish(engine, Task("healthy", key="k")))
        await asyncio.sleep(0.01)
        model.gate.set()
        with pytest.raises(RuntimeError, match="broken"):
            await broken
        assert (await healthy).output == "healthy after 3"

    with_engine(model, scenario)
    assert "step broken+healthy" in model.log


def test_a_preview_that_cannot_be_made_ends_its_own_job_only() -> None:
    class Blind(Clockwork):
        def latents(self, state: TaskState) -> np.ndarray:
            raise RuntimeError("no latents")

    async def scenario(engine: Jobs) -> None:
        with pytest.raises(RuntimeError, match="no latents"):
            await finish(engine, Task("a"), preview_every=1)
        assert (await finish(engine, Task("b"))).output == "b after 3"

    with_engine(Blind(), scenario)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_worker_that_has_died() -> None:
    class Faulty(Clockwork):
        def is_out_of_memory(self, error: Exception) -> bool:
            raise AssertionError("a fault in the engine's own ground") from error

    async def scenario(engine: Jobs) -> None:
        with pytest.raises(InternalError):
            await finish(engine, Task("a", fail_at="step"))
        assert not engine.alive
        with pytest.raises(ServiceUnavailable):
            await finish(engine, Task("b"))

    with_engine(Faulty(), scenario)


def test_a_batch_that_does_not_fit_in_memory_is_run_one_by_one_from_then_on() -> None:
    model = Clockwork(out_of_memory_batches=True)

    async def scenario(engine: Jobs) -> None:
        await finish(engine, Task("measure", key="k"))
        model.gate.clear()
        jobs = [asyncio.create_task(finish(engine, Task(name, key="k"))) for name in "ab"]
        await asyncio.sleep(0.01)
        model.gate.set()
        assert [done.output for done in await asyncio.gather(*jobs)] == ["a after 3", "b after 3"]

    with_engine(model, scenario)
    assert model.log.count("free_memory") == 1


def test_the_state_of_a_finished_failed_or_cancelled_job_is_freed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(
        logging.CRITICAL, "services.diffusion.engine.failure"
    )  # pytest keeps the frames of logged exceptions
    states: list[weakref.ref[TaskState]] = []

    class Watched(Clockwork):
        def prepare(self, spec: Task) -> TaskState:
            state = super().prepare(spec)
            states.append(weakref.ref(state))
            return state

    async def scenario(engine: Jobs) -> None:
        await finish(engine, Task("finished"))
        with pytest.raises(RuntimeError):
            await finish(engine, Task("failed", fail_at="step"))
        events = engine.run(Task("cancelled", steps=100, seconds=0.01))
        async for _ in events:
            if states[2:]:
                break
        await events.aclose()
        await finish(engine, Task("last"))

    with_engine(Watched(), scenario)
    gc.collect()
    assert [state() for state in states] == [None] * 4


@pytest.mark.parametrize("quantum", ["step", "decode"])
def test_a_job_that_ran_out_of_memory_holds_nothing_when_the_memory_is_given_back(quantum: str) -> None:
    states: list[weakref.ref[TaskState]] = []
    held: list[bool] = []

    class Watched(Clockwork):
        def prepare(self, spec: Task) -> TaskState:
            state = super().prepare(spec)
            states.append(weakref.ref(state))
            return state

        def free_memory(self) -> None:
            held.extend(state() is not None for state in states)

    async def scenario(engine: Jobs) -> None:
        with pytest.raises(OutOfMemory):
            await finish(engine, Task("a", fail_at=quantum, error=MemoryError()))

    with_engine(Watched(), scenario)
    assert held == [True, False]  # before its second try, and after it


def test_an_error_is_handed_out_without_the_frames_of_those_that_led_to_it() -> None:
    def chained() -> Exception:
        try:
            try:
                raise KeyError("first")
            except KeyError as first:
                raise ValueError("second") from first
        except ValueError as second:
            return second

    error = without_frames(chained())
    assert error.__traceback__ is None
    assert error.__cause__ is not None
    assert error.__cause__.__traceback__ is None


def test_a_models_numbers_are_the_same_after_an_exception_and_after_exhausted_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = fill_spec(seed=3)
    forward = fill()._pipeline.transformer.forward
    full = torch.OutOfMemoryError("CUDA out of memory")
    failures: list[Exception] = [ValueError("a bug"), full, full]
    calls = 0

    def flaky(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if failures and (calls % 2 == 0 or len(failures) == 1):
            raise failures.pop(0)
        return forward(*arguments, **options)

    async def scenario(engine: Jobs) -> list[np.ndarray]:
        before = (await finish(engine, spec)).output
        monkeypatch.setattr(fill()._pipeline.transformer, "forward", flaky)
        with pytest.raises(ValueError, match="a bug"):
            await finish(engine, fill_spec(seed=4))
        with pytest.raises(OutOfMemory):
            await finish(engine, fill_spec(seed=5))
        return [before, (await finish(engine, spec)).output]

    before, after = with_engine(fill(), scenario)
    assert np.array_equal(before, after)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), ValueError("x")]
)
async def test_a_model_that_memory_is_too_small_for_ends_the_start_with_advice(error: Exception) -> None:
    def load() -> Any:
        raise error

    service = make_diffusion_service((), FillSettings(port=0, metrics_port=0), load, lambda *_: None)
    with pytest.raises(ModelLoadError if isinstance(error, torch.OutOfMemoryError) else ValueError) as caught:
        await service.start()
    if isinstance(caught.value, ModelLoadError):
        assert "Tried to allocate 2 GiB" in caught.value.message
        assert "set IMGEDIT_FILL_OFFLOAD=model" in caught.value.message
        assert "IMGEDIT_FILL_WEIGHTS=stored" in caught.value.message
