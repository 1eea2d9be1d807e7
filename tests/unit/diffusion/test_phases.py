"""A job's spans as spans.

One each, with what the engine did for it, however it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest

from imgedit.errors import ImgeditError
from services.common import tracing
from services.diffusion.engine.events import Progress
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.fill.model import load as load_fill
from services.orchestrator.settings import OrchestratorSettings
from tests.collector import Collector, Trace, collector
from tests.support.engine import Clockwork, Task, checkpoint, fill_spec, finish, running


@pytest.fixture
def spans() -> Iterator[Collector]:
    with collector() as kept:
        tracing.configure(OrchestratorSettings(tracing=kept.endpoint))
        yield kept
        tracing.close()


async def asked(engine: Any, spec: Any) -> None:
    """Run a job in a separate call named after it."""
    with tracing.span(getattr(spec, "name", "job")):
        await finish(engine, spec)


def phases_of(spans: Collector, call: str = "job") -> Trace:
    """The children of this call. Nothing is sent after this."""
    tracing.close()
    everything = Trace(spans.spans)
    parent = everything.named(call).span_id
    return Trace([span for span in everything.spans if span.parent_id == parent])


async def test_a_job_is_three_spans_however_many_steps_it_has(spans: Collector) -> None:
    async with running(Clockwork()) as engine:
        await asked(engine, Task("job", steps=30, seconds=0.001))
    phases = phases_of(spans)
    assert sorted(span.name for span in phases.spans) == ["decode", "denoise", "prepare"]
    denoise = phases.named("denoise")
    assert (denoise.attributes["steps_run"], denoise.attributes["skipped_forwards"]) == (30, 0)
    assert denoise.attributes["device_seconds"] >= 0.03
    assert phases.named("prepare").seconds[1] <= denoise.seconds[0]
    assert denoise.seconds[1] <= phases.named("decode").seconds[0]


async def test_steps_that_were_shared_say_with_how_many(spans: Collector) -> None:
    clockwork = Clockwork(overhead=0.02)
    async with running(clockwork, max_batch=2) as engine:
        for _ in range(3):  # the cost model learns that sharing pays
            await finish(engine, Task("warm", steps=3, key="k"))
        clockwork.gate.clear()
        jobs = [asyncio.create_task(asked(engine, Task(name, steps=6, key="k"))) for name in ("a", "b")]
        await asyncio.sleep(0.05)
        clockwork.gate.set()
        await asyncio.gather(*jobs)
    tracing.close()
    steps = [span.attributes["batch_sizes"] for span in spans.spans if span.name == "denoise"]
    assert len(steps) == 2
    assert all(len(sizes) == 6 and 2 in sizes for sizes in steps)
    shared = [entry for entry in clockwork.log if entry in ("step a+b", "step b+a")]
    assert all(sizes.count(2) == len(shared) for sizes in steps)


@pytest.mark.parametrize(
    ("quantum", "phase", "made"),
    [
        ("prepare", "prepare", ["prepare"]),
        ("step", "denoise", ["denoise", "prepare"]),
        ("decode", "decode", ["decode", "denoise", "prepare"]),
    ],
)
async def test_the_phase_that_fails_says_why_and_those_before_it_are_well(
    spans: Collector, quantum: str, phase: str, made: list[str]
) -> None:
    async with running(Clockwork()) as engine:
        with pytest.raises(ImgeditError):
            await asked(engine, Task("job", fail_at=quantum, error=MemoryError("a secret")))
    phases = phases_of(spans)
    assert sorted(span.name for span in phases.spans) == made
    assert [(span.name, span.status) for span in phases.spans if span.has_failed] == [
        (phase, "RESOURCE_EXHAUSTED OUT_OF_MEMORY")
    ]


async def test_a_job_whose_caller_leaves_ends_its_open_phase_as_cancelled(spans: Collector) -> None:
    async with running(Clockwork()) as engine:
        with tracing.span("job"):
            async with aclosing(engine.run(Task("job", steps=1000, seconds=0.005))) as events:
                async for event in events:
                    if isinstance(event, Progress):
                        break
    phases = phases_of(spans)
    assert sorted(span.name for span in phases.spans) == ["denoise", "prepare"]
    assert phases.named("denoise").status == "CANCELLED CANCELLED"
    assert 1 <= phases.named("denoise").attributes["steps_run"] < 1000
    assert not phases.named("prepare").has_failed


async def test_a_job_outside_a_traced_call_makes_no_span(spans: Collector) -> None:
    async with running(Clockwork()) as engine:
        await finish(engine, Task("job"))
    tracing.close()
    assert not spans.spans


async def test_forwards_that_the_step_cache_answers_are_counted_for_their_job(spans: Collector) -> None:
    adapter = load_fill(checkpoint("FLUX.1-Fill-dev"), device="cpu", runtime=RuntimeOptions(step_cache_threshold=0.5))
    async with running(adapter) as engine:
        with tracing.span("job"):
            await finish(engine, fill_spec(steps=12, step_cache=True, negative_prompt="blurry"))
        with tracing.span("uncached"):
            await finish(engine, fill_spec(steps=4))
    tracing.close()
    denoise = {
        tuple(s.attributes["batch_sizes"]): s.attributes["skipped_forwards"] for s in spans.spans if s.name == "denoise"
    }
    assert 0 < denoise[(1,) * 12] <= 24
    assert denoise[(1,) * 4] == 0
