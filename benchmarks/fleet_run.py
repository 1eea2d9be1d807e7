"""Two real fill replicas behind the real sidecar, under Poisson arrivals.

The reference for the simulation. The model is FLUX.1-Fill's real classes with tiny random weights, each replica a
process with one thread. Batching is off, so that step times are those of single jobs.
"""

import asyncio
import os
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from benchmarks.replica import Durations, Edit, Outcome
from demo.tiny.__main__ import main as build_tiny
from imgedit.channels import open_channel
from imgedit.inference.v1 import fill_pb2, fill_pb2_grpc, image_pb2
from imgedit.local.ports import Ports
from imgedit.local.supervisor import Stack, environment_of

REPLICAS = 2
SIDES = (256, 384)
STEPS = (4, 8)
PATIENCE = (3.0, 10.0)
"""Times the solo time."""

WARM_UPS = 6
"""Edits of each kind, one after another: the first ones warm both replicas up, the second half is counted."""

RESET_SECONDS = 0.05

ENDS = {grpc.StatusCode.DEADLINE_EXCEEDED: "late", grpc.StatusCode.RESOURCE_EXHAUSTED: "refused"}


@dataclass(frozen=True)
class Answer:
    """One call: outcome, seconds, and device time (None without a result)."""

    end: str
    latency: float
    durations: Durations | None


@dataclass(frozen=True)
class Run:
    """The measurement.

    overhead: seconds of a call outside the device; seconds: until the last edit ended.
    """

    outcomes: list[Outcome]
    overhead: float
    seconds: float


def measure(seconds: float, load: float, seed: int, models: Path | None) -> Run:
    """Start the services, run, stop them.

    load: share of two replicas' capacity; models: tiny checkpoints, or None. Raises `StackError` if a service does not
    start.
    """
    with tempfile.TemporaryDirectory() as folder:
        models = models or Path(folder, "models")
        build_tiny(["--out", str(models)])
        ports = Ports.free(replicas={"fill": REPLICAS})
        own = {"IMGEDIT_FILL_MAX_BATCH": "1", "IMGEDIT_FILL_LOG_LEVEL": "warning", "OMP_NUM_THREADS": "1"}
        stack = Stack(ports, Path(folder, "logs"), environment_of(ports, models) | own)
        try:
            stack.start()
            for _ in stack.wait_until_serving(timeout=300):
                pass
            return asyncio.run(drive(ports.target("fill"), seconds, load, random.Random(seed)))
        finally:
            stack.stop()


async def drive(target: str, seconds: float, load: float, dice: random.Random) -> Run:
    """Solo edits of each kind, then Poisson arrivals of all kinds."""
    async with open_channel(target) as channel:
        stub = fill_pb2_grpc.FillServiceStub(channel)
        solo = {kind: await alone(stub, *kind) for kind in ((side, steps) for side in SIDES for steps in STEPS)}
        usual = {kind: statistics.median(answer.latency for answer in answers) for kind, answers in solo.items()}
        edits, at = [], 0.0
        rate = load * REPLICAS / statistics.mean(usual.values())
        while (at := at + dice.expovariate(rate)) < seconds:
            kind = dice.choice(list(usual))
            edits.append((at, kind, dice.choice(PATIENCE) * usual[kind]))
        if not edits:
            raise SystemExit(f"nobody edits within {seconds:g} s; choose more --real-seconds")
        began = time.monotonic()
        answers = await asyncio.gather(*(arrive(stub, began, *edit) for edit in edits))
        took = time.monotonic() - began
    beside = [beside_device(answer, steps) for (_, steps), answers in solo.items() for answer in answers]
    unknown = Durations(0.0, 0.0, 0.0)
    outcomes = [
        Outcome(
            Edit(at, steps, side**2 // 256 + 512, patience, answer.durations or unknown), answer.end, answer.latency
        )
        for (at, (side, steps), patience), answer in zip(edits, answers, strict=True)
    ]
    return Run(outcomes, statistics.median(beside), took)


async def alone(stub: "fill_pb2_grpc.FillServiceAsyncStub", side: int, steps: int) -> list[Answer]:
    """Edits one after another; the later half."""
    return [await call(stub, side, steps, 60.0) for _ in range(WARM_UPS)][WARM_UPS // 2 :]


def beside_device(answer: Answer, steps: int) -> float:
    """Seconds of an edit that waited for nobody, less those on the device."""
    return answer.latency - (answer.durations.solo(steps) if answer.durations else 0.0)


async def arrive(
    stub: "fill_pb2_grpc.FillServiceAsyncStub", began: float, at: float, kind: tuple[int, int], patience: float
) -> Answer:
    """One edit at its time."""
    await asyncio.sleep(max(0.0, began + at - time.monotonic()))
    return await call(stub, *kind, patience)


async def call(stub: "fill_pb2_grpc.FillServiceAsyncStub", side: int, steps: int, patience: float) -> Answer:
    """One edit.

    Raises `grpc.aio.AioRpcError` where it fails for another reason than load.
    """
    result = None
    started = time.monotonic()
    try:
        async for event in stub.Fill(request_of(side, steps), timeout=patience):
            result = event.result if event.HasField("result") else None
    except grpc.aio.AioRpcError as error:
        latency = time.monotonic() - started
        # At the deadline the sidecar may be a moment quicker than this process and resets the stream.
        code = grpc.StatusCode.DEADLINE_EXCEEDED if latency >= patience - RESET_SECONDS else error.code()
        if code not in ENDS:
            raise
        return Answer(ENDS[code], latency, None)
    latency = time.monotonic() - started
    spent = {timing.name: timing.seconds for timing in result.timings} if result else {}
    return Answer("finished", latency, Durations(spent["prepare"], spent["denoise"] / steps, spent["decode"]))


def request_of(side: int, steps: int) -> fill_pb2.FillRequest:
    """Noise with a square to repaint, unlike every other request's."""
    pixels = np.frombuffer(os.urandom(side * side * 3), np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[side // 4 : -side // 4, side // 4 : -side // 4] = 255
    size = {"width": side, "height": side}
    return fill_pb2.FillRequest(
        image=image_pb2.Image(data=pixels.tobytes(), encoding=image_pb2.ENCODING_RAW_RGB8, **size),
        mask=image_pb2.Image(data=mask.tobytes(), encoding=image_pb2.ENCODING_RAW_L8, **size),
        prompt="a gym",
        steps=steps,
        seed=1,
    )
