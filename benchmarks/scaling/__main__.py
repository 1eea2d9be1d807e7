"""How latency, memory and processor time grow, as exponents with plots.

    python -m benchmarks.scaling [--axes pixels steps …] [--edits 5] [--quick] [--out build/scaling]

Inpainting with BEN2's mask by the demo's checkpoints: segmentation, fill and orchestrator are real processes with one
torch thread each. Axes: pixels (0.25 to 25 MP), steps (10 to 50), n (results painted as one batch, 1 to 4), clients
(edits at once, 1 to 8), cache (edits of one picture, 1 to 8: all but the first find their mask cached), and replicas of
fill (1 and 2, with four clients). A figure grows as its axis to the power of the exponent: least squares over
logarithms, with a 95% interval. Latency is fitted over all edits, the others over the points. The models paint at most
256 × 256 px, so `pixels` is the cost of everything but them. Writes one SVG per axis and figure, ends with one JSON
object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.estimates import exponent
from benchmarks.machine import processor_name
from benchmarks.scaling.measure import Bench, Load, Point, running
from benchmarks.scaling.plot import draw
from imgedit import EditClient

AXES: Mapping[str, tuple[float, ...]] = {
    "pixels": (0.25, 1, 4, 12, 25),
    "steps": (10, 20, 35, 50),
    "n": (1, 2, 4),
    "clients": (1, 2, 4, 8),
    "cache": (1, 2, 4, 8),
    "replicas": (1, 2),
}
QUICK: Mapping[str, tuple[float, ...]] = {"pixels": (0.25, 1), "steps": (10, 20), "cache": (1, 2)}
NAMES = {
    "pixels": "megapixels",
    "steps": "denoise steps",
    "n": "results of one edit",
    "clients": "edits at once",
    "cache": "edits of one picture",
    "replicas": "replicas of fill, four clients",
}
FIGURES = {"latency_s": "seconds of an edit", "cpu_s": "processor seconds of an edit", "peak_mib": "MiB at most"}
FIELDS = {"pixels": "megapixels", "steps": "steps", "n": "n", "clients": "clients", "cache": "per_image"}
REPLICA_LOAD = Load(clients=4)


def load_at(axis: str, x: float) -> Load:
    """The edits at a place of an axis."""
    if axis == "replicas":
        return REPLICA_LOAD
    value = x if axis == "pixels" else int(x)
    return replace(Load(), **{FIELDS[axis]: value})


def row(axis: str, points: Sequence[Point], out: Path) -> dict[str, Any]:
    """Medians and exponents of an axis; writes its plots."""
    found: dict[str, Any] = {"name": axis, "points": [summary(point) for point in points]}
    for figure, values in series(points).items():
        fit = exponent(*zip(*values, strict=True))
        found[f"{figure}_exponent"] = asdict(fit)
        svg = draw(f"{FIGURES[figure]} by {NAMES[axis]}", NAMES[axis], FIGURES[figure], values, fit)
        (out / f"{axis}-{figure}.svg").write_text(svg, encoding="utf-8")
        interval = "" if fit.low is None else f" ({fit.low:.2f} to {fit.high:.2f})"
        print(f"{axis}: {FIGURES[figure]} grow with exponent {fit.exponent:.2f}{interval}", flush=True)
    return found


def series(points: Sequence[Point]) -> dict[str, list[tuple[float, float]]]:
    """(x, y) of each figure."""
    return {
        "latency_s": [(point.x, seconds) for point in points for seconds in point.latencies],
        "cpu_s": [(point.x, point.cpu_seconds) for point in points],
        "peak_mib": [(point.x, point.peak_bytes / 2**20) for point in points],
    }


def summary(point: Point) -> dict[str, float]:
    """One point for the record."""
    return {
        "x": point.x,
        "edits": len(point.latencies),
        "latency_s": statistics.median(point.latencies),
        "cpu_s": point.cpu_seconds,
        "peak_mib": point.peak_bytes / 2**20,
    }


async def measure(stack: Any, loads: Sequence[tuple[str, float]], edits: int) -> list[tuple[str, Point]]:
    """A point for each place."""
    found = []
    async with EditClient(stack.ports.address("orchestrator"), retries=0) as client:
        bench = Bench(stack, client)
        for axis, x in loads:
            load = load_at(axis, x)
            point = await bench.point(x, load, max(edits, load.clients, load.per_image))
            found.append((axis, point))
            print(f"{axis} {x:g}: {json.dumps(summary(point))}", flush=True)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure, fit, draw, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", nargs="+", choices=AXES, metavar="AXIS", help=f"of {', '.join(AXES)}")
    parser.add_argument("--edits", type=int, default=5, help="at each point, or more for many clients (%(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"two points each of {', '.join(QUICK)}")
    parser.add_argument("--out", type=Path, default=Path("build/scaling"), help="folder of the plots (%(default)s)")
    options = parser.parse_args(arguments)
    axes = {name: xs for name, xs in (QUICK if options.quick else AXES).items() if name in (options.axes or AXES)}
    if not axes or options.edits < 1:
        parser.error("nothing to measure: --edits must be 1 or more, and --quick has only " + ", ".join(QUICK))
    options.out.mkdir(parents=True, exist_ok=True)
    points: list[tuple[str, Point]] = []
    for replicas in (1, 2):
        places = [(axis, x) for axis, xs in axes.items() for x in xs if replicas == (x if axis == "replicas" else 1)]
        if places:
            with running(replicas) as stack:
                points += asyncio.run(measure(stack, places, options.edits))
    rows = [row(axis, [point for name, point in points if name == axis], options.out) for axis in axes]
    print(json.dumps({"benchmark": "scaling", "machine": processor_name(), "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
