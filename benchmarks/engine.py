"""The step engine against two simple servers: same model, requests, arrival times.

    python -m benchmarks.engine [--seconds 20] [--loads 0.5 0.8 1.1] [--repeats 1] [--threads 1] [--seed 1]

The simple servers are (a) `FluxFillPipeline` behind a lock, in arrival order, and (b) the same with static batching:
waiting requests of one size and step count run as one pipeline call. Ours is `services.diffusion` over `services.fill`.
Arrivals are Poisson at 50, 80 and 110% of the pipeline's capacity. Sizes are 256, 512 and 768 px, with 4 or 8 steps.
Half of the requests have 1.5 and half 3 times their solo time as deadline; an extra round at 80% has none. All three
serve the same arrivals one after another. Ours first runs one job of each size, as the pipeline does while its solo
times are measured. `--repeats` repeats each round with other arrivals and reports medians. The model is FLUX's real
classes with random weights, wide enough that the work is arithmetic. Ends with one JSON object.
"""

import argparse
import asyncio
import functools
import itertools
import json
import math
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline
from PIL import Image

from demo.tiny.flux_fill import CLIP_WIDTH, T5_WIDTH
from demo.tiny.flux_fill import build as build_flux
from demo.tiny.folder import seeded
from imgedit.errors import DeadlineExceeded, QueueFull
from services.diffusion.engine.engine import Engine
from services.fill.model import FillAdapter, load
from services.fill.spec import FillSpec

SIZES = (256, 512, 768)
SHARES = (0.5, 0.35, 0.15)
STEPS = (4, 8)
LOADS = (0.5, 0.8, 1.1)
SLACK = (1.5, 3.0)
MAX_BATCH = 4


@dataclass(frozen=True)
class Request:
    """One arrival: seconds after the start, the request, its solo time, its deadline."""

    at: float
    spec: FillSpec
    solo: float
    patience: float | None


@dataclass(frozen=True)
class Outcome:
    """The result of a request.

    latency: seconds, None = no image. steps: denoise steps spent on it.
    """

    request: Request
    latency: float | None
    steps: int

    @property
    def met(self) -> bool:
        """Whether a picture came in time."""
        return self.latency is not None and (self.request.patience is None or self.latency <= self.request.patience)


Serve = Callable[[Request], Awaitable[int]]
"""Serves one request and returns the steps spent; raises when it is refused or given up."""


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each round's arrivals (%(default)s)")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS, help="shares of the capacity %(default)s")
    parser.add_argument("--repeats", type=int, default=1, help="rounds of each load, medians reported (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of torch; leave a core for the clients (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of sizes, steps and arrival times (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        adapter = model(Path(folder))
    pipeline = plain_pipeline(adapter)
    overhead = measure_overhead(adapter, pipeline)
    solo = measure_solo(pipeline)
    print("solo seconds:", {f"{size}px x{steps}": round(seconds, 3) for (size, steps), seconds in solo.items()})
    systems = {
        "engine": functools.partial(run_engine, adapter),
        "lock": functools.partial(run_lock, pipeline),
        "static batch": functools.partial(run_static, pipeline),
    }
    rounds = [(share, True) for share in options.loads] + [(share, False) for share in options.loads if share == 0.8]
    rows = []
    for repeat, (share, deadlines) in itertools.product(range(options.repeats), rounds):
        requests = arrivals(solo, share, options.seconds, options.seed + repeat, deadlines=deadlines)
        if not requests:
            raise SystemExit(f"nobody arrives within {options.seconds} s at {share:.0%} load; choose more --seconds")
        for name, system in systems.items():
            rows.append(summary(name, share, deadlines, *asyncio.run(system(requests))))
            print(json.dumps(rows[-1]), flush=True)
    medians = [median_row(rows, name, share, deadlines) for share, deadlines in rounds for name in systems]
    print(json.dumps({"benchmark": "engine", "overhead": overhead, "verdicts": verdicts(medians), "rounds": medians}))


def model(folder: Path) -> FillAdapter:
    """FLUX-Fill's classes at width 256, with one double and two single blocks.

    Everything else is tiny.
    """
    build_flux(folder, seed=1)
    with seeded(2):
        transformer = FluxTransformer2DModel(
            in_channels=384,
            out_channels=64,
            num_layers=1,
            num_single_layers=2,
            num_attention_heads=4,
            attention_head_dim=64,
            axes_dims_rope=(8, 28, 28),
            joint_attention_dim=T5_WIDTH,
            pooled_projection_dim=CLIP_WIDTH,
            guidance_embeds=True,
        )
    transformer.save_pretrained(folder / "transformer")
    adapter = load(folder, device="cpu", cache_bytes=0)
    adapter.warm_up()
    return adapter


def plain_pipeline(adapter: FillAdapter) -> FluxFillPipeline:
    """Diffusers' pipeline over the same weights, with a separate scheduler."""
    parts = dict(adapter._pipeline.components)
    pipeline = FluxFillPipeline(
        **{**parts, "scheduler": FlowMatchEulerDiscreteScheduler.from_config(adapter._schedule)}
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def spec_of(size: int, steps: int, seed: int) -> FillSpec:
    """A square picture with a box to repaint."""
    image = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    mask = np.zeros((size, size), np.uint8)
    mask[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 255
    return FillSpec(image, mask, f"a gym number {seed}", None, 1.0, steps, 3.5, 1.0, seed)


def call(pipeline: FluxFillPipeline, specs: list[FillSpec]) -> list[Image.Image]:
    """One pipeline call for specs of one size and step count."""
    height, width, _ = specs[0].image.shape
    images: list[Image.Image] = pipeline(
        prompt=[spec.prompt for spec in specs],
        image=[Image.fromarray(spec.image) for spec in specs],
        mask_image=[Image.fromarray(spec.mask) for spec in specs],
        height=height,
        width=width,
        num_inference_steps=specs[0].steps,
        guidance_scale=specs[0].guidance_scale,
        generator=[torch.Generator().manual_seed(spec.seed) for spec in specs],
    ).images
    return images


def measure_solo(pipeline: FluxFillPipeline) -> dict[tuple[int, int], float]:
    """Median of three runs for every size and step count."""
    solo = {}
    for size in SIZES:
        for steps in STEPS:
            runs = [timed(functools.partial(call, pipeline, [spec_of(size, steps, 0)])) for _ in range(3)]
            solo[size, steps] = statistics.median(runs)
    return solo


def measure_overhead(adapter: FillAdapter, pipeline: FluxFillPipeline, repeats: int = 9) -> dict[str, float]:
    """One job in the engine and in the bare pipeline, turn about.

    Seconds and the ratio of the medians.
    """
    spec = spec_of(512, 8, 0)
    ours, bare = [], []

    async def scenario() -> None:
        engine = Engine(adapter, name="overhead")
        engine.start()
        for _ in range(repeats):
            started = time.perf_counter()
            async for _event in engine.run(spec):
                pass
            ours.append(time.perf_counter() - started)
            bare.append(timed(lambda: call(pipeline, [spec])))
        await engine.aclose()

    asyncio.run(scenario())
    engine_seconds, bare_seconds = statistics.median(ours), statistics.median(bare)
    result = {
        "engine_s": round(engine_seconds, 4),
        "pipeline_s": round(bare_seconds, 4),
        "ratio": round(engine_seconds / bare_seconds, 4),
        "ratio_of_minima": round(min(ours) / min(bare), 4),
    }
    print("overhead of the engine, one job alone:", result, flush=True)
    return result


def timed(work: Callable[[], Any]) -> float:
    """Seconds that the work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def arrivals(
    solo: dict[tuple[int, int], float], load_share: float, seconds: float, seed: int, *, deadlines: bool
) -> list[Request]:
    """Poisson arrivals whose expected work is `load_share` of the time."""
    noise = np.random.default_rng(seed)
    mean = sum(
        share * solo[size, steps] / len(STEPS) for size, share in zip(SIZES, SHARES, strict=True) for steps in STEPS
    )
    requests: list[Request] = []
    at = 0.0
    while (at := at + noise.exponential(mean / load_share)) < seconds:
        size, steps = int(noise.choice(SIZES, p=SHARES)), int(noise.choice(STEPS))
        alone = solo[size, steps]
        patience = float(noise.choice(SLACK)) * alone if deadlines else None
        requests.append(Request(at, spec_of(size, steps, len(requests)), alone, patience))
    return requests


async def replay(requests: list[Request], serve: Serve) -> tuple[list[Outcome], float]:
    """Send the requests at their times.

    The outcomes, and the seconds until the last was over.
    """
    started = time.perf_counter()

    async def one(request: Request) -> Outcome:
        await asyncio.sleep(max(0.0, started + request.at - time.perf_counter()))
        sent = time.perf_counter()
        try:
            steps = await serve(request)
        except (DeadlineExceeded, QueueFull) as refusal:
            return Outcome(request, None, getattr(refusal, "steps", 0))
        return Outcome(request, time.perf_counter() - sent, steps)

    outcomes = await asyncio.gather(*(one(request) for request in requests))
    return list(outcomes), time.perf_counter() - started


async def run_engine(adapter: FillAdapter, requests: list[Request]) -> tuple[list[Outcome], float]:
    """Ours."""
    engine = Engine(adapter, max_jobs=10_000, max_bytes=1 << 40, name="bench")
    engine.start()
    for size in SIZES:  # the pipeline has had as much while its solo times were measured
        async for _ in engine.run(spec_of(size, STEPS[0], 0)):
            pass

    async def serve(request: Request) -> int:
        steps = 0
        deadline = None if request.patience is None else time.monotonic() + request.patience
        try:
            async for event in engine.run(request.spec, deadline=deadline):
                steps = getattr(event, "step", steps)
        except DeadlineExceeded as missed:
            missed.steps = steps  # type: ignore[attr-defined]
            raise
        return steps

    result = await replay(requests, serve)
    await engine.aclose()
    return result


async def run_lock(pipeline: FluxFillPipeline, requests: list[Request]) -> tuple[list[Outcome], float]:
    """The pipeline behind a lock; asyncio's lock is first come first served.

    A request once sent is always run.
    """
    lock = asyncio.Lock()

    async def serve(request: Request) -> int:
        async with lock:
            await asyncio.to_thread(call, pipeline, [request.spec])
        return request.spec.steps

    return await replay(requests, serve)


async def run_static(pipeline: FluxFillPipeline, requests: list[Request]) -> tuple[list[Outcome], float]:
    """The first in line and up to three more of its size and step count as one call."""
    waiting: list[tuple[Request, asyncio.Future[None]]] = []
    arrived = asyncio.Event()

    async def worker() -> None:
        while True:
            await arrived.wait()
            first = waiting[0][0].spec
            alike = [w for w in waiting if (w[0].spec.steps, w[0].spec.image.shape) == (first.steps, first.image.shape)]
            batch = alike[:MAX_BATCH]
            for entry in batch:
                waiting.remove(entry)
            if not waiting:
                arrived.clear()
            await asyncio.to_thread(call, pipeline, [request.spec for request, _ in batch])
            for _, done in batch:
                done.set_result(None)

    async def serve(request: Request) -> int:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append((request, done))
        arrived.set()
        await done
        return request.spec.steps

    running = asyncio.create_task(worker())
    result = await replay(requests, serve)
    running.cancel()
    return result


def summary(name: str, load_share: float, deadlines: bool, outcomes: list[Outcome], seconds: float) -> dict[str, Any]:
    """One row of the table.

    Percentiles are over requests that got a picture; short = at most the median solo time.

    Steps are wasted when they were run for a request that got no picture in time.
    """
    limit = statistics.median(outcome.request.solo for outcome in outcomes)
    done = [outcome for outcome in outcomes if outcome.latency is not None]
    latencies = [outcome.latency for outcome in done if outcome.latency is not None]
    short = [outcome.latency for outcome in done if outcome.request.solo <= limit and outcome.latency is not None]
    missed = [outcome for outcome in outcomes if not outcome.met]
    return {
        "system": name,
        "load": load_share,
        "deadlines": deadlines,
        "requests": len(outcomes),
        "pictures": len(done),
        "met": sum(outcome.met for outcome in outcomes),
        "throughput_per_s": round(len(done) / seconds, 3),
        "work_per_s": round(sum(outcome.request.solo for outcome in done) / seconds, 3),
        "mean_s": round(statistics.fmean(latencies), 3) if latencies else math.nan,
        **{f"p{p}_s": percentile(latencies, p) for p in (50, 95, 99)},
        "short_p95_s": percentile(short, 95),
        "steps_wasted_on_dead_requests": sum(outcome.steps for outcome in missed),
    }


def percentile(seconds: list[float], part: int) -> float:
    """The percentile, in seconds; not a number where there is nothing to rank."""
    return round(float(np.percentile(seconds, part)), 3) if seconds else math.nan


def median_row(rows: list[dict[str, Any]], name: str, load_share: float, deadlines: bool) -> dict[str, Any]:
    """The median of every figure over the repeats of one system's round."""
    same = [row for row in rows if (row["system"], row["load"], row["deadlines"]) == (name, load_share, deadlines)]
    figures = {
        key: statistics.median(row[key] for row in same) for key in same[0] if key not in ("system", "deadlines")
    }
    return {"system": name, "deadlines": deadlines, **figures}


def verdicts(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The engine against the two others, as ratios, by round.

    The aims are for 80% load.
    """
    return {
        f"{row['load']:.0%} {'with' if row['deadlines'] else 'without'} deadlines": verdict(row, *others(rows, row))
        for row in rows
        if row["system"] == "engine"
    }


def others(rows: list[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the lock and of static batching in the same round."""
    return [
        other
        for other in rows
        if other["system"] != "engine" and all(other[key] == row[key] for key in ("load", "deadlines"))
    ]


def verdict(engine: dict[str, Any], lock: dict[str, Any], static: dict[str, Any]) -> dict[str, float]:
    """One round's ratios."""
    return {
        "short_p95_to_lock": round(engine["short_p95_s"] / lock["short_p95_s"], 3),
        "deadlines_met_to_lock": round(engine["met"] / max(1, lock["met"]), 3),
        "throughput_to_lock": round(engine["throughput_per_s"] / lock["throughput_per_s"], 3),
        "throughput_to_static": round(engine["throughput_per_s"] / static["throughput_per_s"], 3),
    }


if __name__ == "__main__":
    main()
