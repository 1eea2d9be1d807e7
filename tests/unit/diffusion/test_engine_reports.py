"""Previews of the engine, and metrics with labels from closed sets."""

import asyncio
import io
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from imgedit.errors import OutOfMemory, QueueFull, WouldMissDeadline
from services.diffusion.engine.engine import Engine
from services.diffusion.engine.events import Preview
from services.diffusion.engine.preview import fit_latent_rgb, jpeg_of
from tests.support.engine import Clockwork, Task, fill, fill_spec, finish, with_engine
from tests.unit.diffusion.test_engine_schedule import soon, submit

pytestmark = pytest.mark.slow

Jobs = Engine[Any, Any, Any]


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_previews_come_every_k_steps_as_small_jpegs() -> None:
    async def scenario(engine: Jobs) -> list[Any]:
        spec = fill_spec(steps=7, height=512, width=1024)
        return [event async for event in engine.run(spec, preview_every=2)]

    previews = [event for event in with_engine(fill(), scenario) if isinstance(event, Preview)]
    assert 1 <= len(previews) <= 3
    image = Image.open(io.BytesIO(previews[0].jpeg))
    assert image.format == "JPEG"
    assert image.size == (256, 128)


def test_previews_are_drawn_off_the_worker_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def spy(latents: np.ndarray, latent_rgb: np.ndarray) -> bytes:
        threads.append(threading.current_thread().name)
        return jpeg_of(latents, latent_rgb)

    monkeypatch.setattr("services.diffusion.engine.engine.jpeg_of", spy)
    with_engine(Clockwork(), lambda engine: finish(engine, Task("a", steps=6), preview_every=1), name="shop")
    assert set(threads) == {"shop-preview_0"}


def test_the_fitted_map_recovers_a_linear_relation() -> None:
    noise = np.random.default_rng(0)
    latents = noise.normal(size=(500, 16)).astype(np.float32)
    truth = noise.normal(size=(17, 3)).astype(np.float32)
    fitted = fit_latent_rgb(latents, latents @ truth[:-1] + truth[-1])
    assert np.allclose(fitted, truth, atol=1e-4)


def test_jobs_are_counted_by_outcome_and_saved_steps_are_counted() -> None:
    model, name = Clockwork(), "counted"

    async def scenario(engine: Jobs) -> None:
        await finish(engine, Task("fine", steps=4, seconds=0.01))
        with pytest.raises(RuntimeError):
            await finish(engine, Task("broken", fail_at="step"))
        with pytest.raises(OutOfMemory):
            await finish(engine, Task("huge", fail_at="step", error=MemoryError()))
        with pytest.raises(WouldMissDeadline):
            await finish(engine, Task("late", steps=1000, tokens=1000), deadline=soon(0.5))
        cancelled = await submit(engine, Task("cancelled", steps=100, seconds=0.01))
        with pytest.raises(QueueFull):
            await finish(engine, Task("extra"))
        cancelled.cancel()
        await asyncio.sleep(0.1)

    with_engine(model, scenario, name=name, max_jobs=1)
    outcomes = ("finished", "failed", "out_of_memory", "refused_deadline", "refused_full", "cancelled")
    for outcome in outcomes:
        assert sample("imgedit_engine_jobs_total", service=name, outcome=outcome) == 1, outcome
    assert sample("imgedit_engine_out_of_memory_total", service=name) == 2  # a lone job is tried twice
    assert sample("imgedit_engine_steps_saved_total", service=name) >= 90
    assert sample("imgedit_engine_step_seconds_count", service=name) >= 4
    assert sample("imgedit_engine_cost_error_ratio_count", service=name) >= 3
    assert sample("imgedit_queue_wait_seconds_count", service=name) >= 4
    assert sample("imgedit_queue_depth", service=name) == 0
    assert sample("imgedit_engine_queue_bytes", service=name) == 0


def test_every_series_exists_before_the_first_job() -> None:
    Engine(Clockwork(), name="idle")
    assert REGISTRY.get_sample_value("imgedit_engine_jobs_total", {"service": "idle", "outcome": "deadline"}) == 0
    assert REGISTRY.get_sample_value("imgedit_queue_depth", {"service": "idle"}) == 0


def test_the_engine_needs_no_torch() -> None:
    """Servicers import it before the model's libraries are there."""
    program = "import sys, services.diffusion.engine.engine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
