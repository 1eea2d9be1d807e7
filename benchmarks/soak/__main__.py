"""Half an hour of mixed load on a real stack, with faults on purpose.

    python -m benchmarks.soak [--minutes 30] [--callers 6] [--kill-seconds 60] [--seed 1]

The stack has the demo's checkpoints, two replicas of every model service behind the sidecar, the orchestrator and the
edge. Callers send edits of several sizes, experiments, formats and steps through gRPC, JSON and OpenAI's API, some with
a deadline that cannot be met. They also cancel, send bad input, reset their connection in mid-stream and mid-upload,
and send bytes of no protocol. Every minute one second replica is killed with SIGKILL and started again.

It must hold that each edit ends with a result or an error with its reason, before its deadline plus 30 s; bad input is
refused with its reason; an edit that nobody waits for stops within 60 s; no process ends that was not killed; no log
has a traceback; and after a warm-up of a fifth of the time, memory, threads and descriptors of each process that is not
killed grow by no more than a tolerance (Theil-Sen slope times the judged time). Prints tables, ends with one JSON
object; exit code 1 if something does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import processor_name
from benchmarks.soak import requests
from benchmarks.soak.flat import TOLERANCES, Growth, Samples
from benchmarks.soak.outcomes import Ended, table
from benchmarks.soak.traffic import Traffic
from imgedit.installation import ROOT
from imgedit.local.ports import Ports
from imgedit.local.supervisor import Stack, demo_environment_of

KILLED = ("fill-2", "qwen_edit-2", "segmentation-2")
"""In turn, so that each lives for some minutes: the supervisor gives up a program that ends early again and again."""

SAMPLE_SECONDS = 5.0
WARM_UP = 0.2
SHOWN = 20
MARKS = ("Traceback (most recent call last)", "Segmentation fault", "double free")
CACHES = {
    "IMGEDIT_ORCHESTRATOR_MAX_KEPT_BYTES": str(16 * 2**20),
    "IMGEDIT_SEGMENTATION_CACHE_BYTES": str(8 * 2**20),
    "IMGEDIT_FILL_CACHE_BYTES": str(8 * 2**20),
    "IMGEDIT_QWEN_EDIT_CACHE_BYTES": str(8 * 2**20),
    "OMP_NUM_THREADS": "1",
}
"""Caches that are full after the warm-up, so that later growth is a leak."""


async def soak(stack: Stack, options: argparse.Namespace) -> tuple[list[Ended], Samples, list[str], float]:
    """Load, kill and sample.

    The calls, the samples, the ends of processes that nobody killed, and when the warm-up was over.
    """
    traffic = Traffic(stack.ports, requests.pictures(ROOT / "demo" / "samples"), random.Random(options.seed))
    samples, stop, began = Samples(), asyncio.Event(), time.monotonic()
    seconds = 60 * options.minutes
    load = asyncio.create_task(traffic.run(options.callers, stop))
    unexpected: list[str] = []
    turns, kill_at, sample_at, told = itertools.cycle(KILLED), began + options.kill_seconds, began, 0
    while (now := time.monotonic()) < began + seconds and not load.done():
        if now >= kill_at:
            stack.processes[name := next(turns)].kill()
            kill_at += options.kill_seconds
            print(f"{now - began:6.0f} s: {name} killed; {len(traffic.ended)} calls are over", flush=True)
        if now >= sample_at:
            samples.take({name: popen.pid for name, popen in stack.processes.items()})
            sample_at += SAMPLE_SECONDS
        messages = await asyncio.to_thread(lambda: list(stack.tend()))
        unexpected += [message for message in messages if not message.startswith(tuple(f"{name}:" for name in KILLED))]
        faults = [one for one in traffic.ended[told:] if one.is_fault]
        told = len(traffic.ended)
        for fault in faults:
            print(f"{now - began:6.0f} s: FAULT {fault.kind}: {fault.end} {fault.detail}", flush=True)
        await asyncio.sleep(0.5)
    stop.set()
    await load
    return traffic.ended, samples, unexpected, began + WARM_UP * seconds


def faulty_lines(logs: Path) -> list[str]:
    """Lines of the logs that a sound server does not write, with their file."""
    return [
        f"{path.name}: {line[:1000]}"
        for path in sorted(logs.glob("*.log*"))
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if any(mark in line for mark in MARKS)
    ]


@contextmanager
def running(logs: Path) -> Iterator[Stack]:
    """The stack, serving."""
    ports = Ports.free(replicas=dict.fromkeys(("segmentation", "fill", "qwen_edit"), 2), gateway=True)
    stack = Stack(ports, logs, demo_environment_of(ports) | CACHES)
    try:
        stack.start()
        list(stack.wait_until_serving(timeout=600))
        yield stack
    finally:
        stack.stop()


def shown(growths: list[Growth]) -> Iterator[str]:
    """The table of processes."""
    for one in growths:
        unit, name = (2**20, "MiB") if one.figure in ("resident", "anonymous") else (1, "")
        yield (
            f"{one.process:>14} {one.figure:>11}: median {one.median / unit:8.1f} {name}, growth "
            f"{one.growth / unit:+7.2f}, allowed {one.allowed / unit:.1f}{'' if one.is_flat else '  GROWS'}"
        )


def result_of(
    ended: list[Ended], growths: list[Growth], unexpected: list[str], lines: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    """The JSON object."""
    faults = [one for one in ended if one.is_fault]
    grown = [one for one in growths if not one.is_flat]
    return {
        "benchmark": "soak",
        "machine": processor_name(),
        "minutes": options.minutes,
        "callers": options.callers,
        "calls": len(ended),
        "lost": sum(one.end == "lost" for one in ended),
        "hung": sum(one.end in ("hung", "not stopped") for one in ended),
        "ends": table(ended),
        "faults": [asdict(one) | {"expected": sorted(one.expected)} for one in faults[:SHOWN]],
        "growths": [asdict(one) | {"flat": one.is_flat} for one in growths],
        "tolerances": {name: asdict(value) for name, value in TOLERANCES.items()},
        "ended_unasked": unexpected,
        "log_lines": lines[:SHOWN],
        "passed": not (faults or grown or unexpected or lines),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run, judge, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30, help="of load (%(default)s)")
    parser.add_argument("--callers", type=int, default=6, help="calls at once (%(default)s)")
    parser.add_argument("--kill-seconds", type=float, default=60, help="between two kills (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the load (%(default)s)")
    parser.add_argument("--logs", type=Path, help="folder for the servers' logs, kept; default: a temporary one")
    options = parser.parse_args(arguments)
    if options.minutes < 1:
        parser.error(f"--minutes {options.minutes:g}: a slope needs at least 1")
    if len(KILLED) * options.kill_seconds < 90:
        parser.error(f"--kill-seconds {options.kill_seconds:g}: must be 30 or more, or a replica is not restarted")
    with tempfile.TemporaryDirectory() as folder:
        logs = options.logs or Path(folder)
        with running(logs) as stack:
            ended, samples, unexpected, judged_from = asyncio.run(soak(stack, options))
        lines = faulty_lines(logs)
    growths = samples.growths(judged_from, set(KILLED))
    result = result_of(ended, growths, unexpected, lines, options)
    for row in result["ends"]:
        print(f"{row['count']:>6} {row['kind']}: {row['end']}{'  FAULT' if row['fault'] else ''}")
    for line in [*shown(growths), *unexpected, *lines[:SHOWN]]:
        print(line)
    print(json.dumps(result))
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
