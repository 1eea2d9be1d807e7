"""How many GPUs a day of edits needs.

Our scheduler against first come first served, in simulated time.

    python -m benchmarks.capacity [--peak 3000] [--step 0.236] [--fixed 4 6] [--seeds 1 2] [--real-seconds 40]

A day's load curve (low at 03:00, high at 15:00, half an hour's rush at 20:00) meets replicas of one diffusion service.
Two policies see the same edits: `ours` is the engine's schedule and cost model themselves, `lock` an ordinary server
that runs one edit after another; in front of both, calls go to the replica with the fewest. Each policy gets the
replicas that KEDA's rules of deploy/k8s/components/keda ask for, late by their polling, their pace and the model's
loading, and fixed numbers of replicas. Then two real replicas with tiny weights serve Poisson arrivals behind the real
sidecar, the simulation is fed with the times of their steps, and a table says how far off it was. Ends with one JSON
object.

reading the table: `in time` = a picture before the caller's deadline, of all edits; `refused` at once; `late` = given
up or too late; P50 and P95 in seconds, of the pictures that were made; `GPU-hours` from a replica's start, loading
included. To size a cluster, give --peak your edits per hour at the busiest, --prepare, --step and --decode what the
dashboard "Model services" shows, --load-seconds what your pods take until they serve, and look for the fewest GPU-hours
whose `in time` you can live with.
"""

import argparse
import itertools
import json
import math
import os
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import simpy

from benchmarks import fleet_run
from benchmarks.autoscaler import FOLDER, Autoscaler, Rules
from benchmarks.fleet import Fleet
from benchmarks.machine import processor_name
from benchmarks.replica import Durations, Edit, EngineReplica, LockReplica, Machine, Outcome, Replica

POLICIES: dict[str, type[Replica]] = {"ours": EngineReplica, "lock": LockReplica}
SERVICES = ("fill", "qwen-edit")
TOKENS = 4096 + 512
"""Of 1024 × 1024 pixels and the text."""

LOWEST_HOUR, RUSH_HOUR, RUSH_HOURS = 3.0, 20.0, 0.5
PREDICTIONS = 20
"""Simulations of the real run; their medians are the prediction."""


@dataclass(frozen=True)
class Load:
    """A day's arrivals: peak edits per hour, the share at the trough, and a rush."""

    peak: float
    trough: float
    rush: float

    def per_hour(self, hour: float) -> float:
        """Edits per hour at this hour of the day."""
        wave = math.sin(math.pi * (hour - LOWEST_HOUR) / 24) ** 2
        rush = self.rush if RUSH_HOUR <= hour % 24 < RUSH_HOUR + RUSH_HOURS else 1.0
        return rush * self.peak * (self.trough + (1 - self.trough) * wave)

    def arrivals(self, hours: float, dice: random.Random) -> list[float]:
        """Times in seconds, by thinning a Poisson process of the highest rate."""
        highest, at, found = self.peak * max(1.0, self.rush), 0.0, []
        while (at := at + dice.expovariate(highest / 3600)) < hours * 3600:
            if dice.random() * highest < self.per_hour(at / 3600):
                found.append(at)
        return found


def main(arguments: list[str] | None = None) -> None:
    """Simulate, measure, print."""
    options = parse(arguments)
    rows = []
    for row in simulate(options):
        print(line(row), flush=True)
        rows.append(row)
    real = compare(options) if options.real_seconds else None
    settings = {name: value for name, value in vars(options).items() if name != "models"}
    print(json.dumps({"benchmark": "capacity", "settings": settings, "days": rows, "real": real}, allow_nan=False))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    day = parser.add_argument_group("the day")
    day.add_argument("--peak", type=positive, default=3000, help="edits per hour at 15:00 (%(default)s)")
    day.add_argument("--trough", type=share, default=0.15, help="share of it at 03:00, 0 to 1 (%(default)s)")
    day.add_argument("--rush", type=positive, default=1.5, help="factor from 20:00 to 20:30, 1 = none (%(default)s)")
    day.add_argument("--hours", type=positive, default=24, help="simulated from midnight (%(default)s)")
    day.add_argument("--steps", type=count, nargs="+", default=[28, 8], help="of an edit, equally often %(default)s")
    day.add_argument(
        "--patience",
        type=positive,
        nargs="+",
        default=[3, 10],
        help="deadlines, times what the edit takes alone, equally often %(default)s",
    )
    day.add_argument("--seeds", type=int, nargs="+", default=[1], help="a day for each; means are shown %(default)s")
    device = parser.add_argument_group(
        "the device (defaults: docs/operations.md, FLUX.1-Fill at 1024 × 1024 on an H100)"
    )
    device.add_argument("--prepare", type=positive, default=0.25, help="seconds before the steps (%(default)s)")
    device.add_argument("--step", type=positive, default=0.236, help="seconds of one step (%(default)s)")
    device.add_argument("--decode", type=positive, default=0.25, help="seconds after the steps (%(default)s)")
    device.add_argument("--noise", type=share, default=0.05, help="relative deviation of each (%(default)s)")
    device.add_argument(
        "--batch-share",
        type=share,
        default=1.0,
        help="what a further job adds to a step, as a part of a step alone; 1 = batches save nothing (%(default)s)",
    )
    scaling = parser.add_argument_group("replicas")
    scaling.add_argument("--service", choices=SERVICES, default="fill", help="whose KEDA rules (%(default)s)")
    scaling.add_argument(
        "--load-seconds",
        type=positive,
        default=180,
        help="from a pod's start until it serves: 34 GB of weights at 200 MB/s, node there, image pulled (%(default)s)",
    )
    scaling.add_argument(
        "--fixed", type=count, nargs="*", default=[4, 6], help="numbers of replicas without KEDA %(default)s"
    )
    real = parser.add_argument_group("the real run")
    real.add_argument("--real-seconds", type=float, default=40, help="of arrivals, 0 = no real run (%(default)s)")
    real.add_argument("--real-load", type=share, default=0.6, help="share of what two replicas can do (%(default)s)")
    real.add_argument("--models", type=Path, help="folder for the tiny checkpoints, kept; default: a temporary one")
    return parser.parse_args(arguments)


def positive(text: str) -> float:
    """A number above 0."""
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def count(text: str) -> int:
    """A whole number above 0."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    if not 0 <= (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def simulate(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row per scaling and policy; means over the seeds."""
    rules = Rules.read(FOLDER / f"{options.service}.yaml")
    days = {seed: edits_of(options, random.Random(seed)) for seed in options.seeds}
    scalings: list[int | None] = [None, *options.fixed]
    for replicas, policy in itertools.product(scalings, POLICIES):
        row = mean([run_day(options, rules, POLICIES[policy], replicas, edits, seed) for seed, edits in days.items()])
        yield row | {"policy": policy, "replicas": replicas or "keda"}


def edits_of(options: argparse.Namespace, dice: random.Random) -> list[Edit]:
    """One day's edits."""
    takes = Durations(options.prepare, options.step, options.decode)
    load = Load(options.peak, options.trough, options.rush)
    found = []
    for at in load.arrivals(options.hours, dice):
        steps = dice.choice(options.steps)
        found.append(Edit(at, steps, TOKENS, dice.choice(options.patience) * takes.solo(steps), takes))
    if not found:
        raise SystemExit(f"nobody edits within {options.hours:g} hours; choose more --hours or a higher --peak")
    return found


def run_day(
    options: argparse.Namespace,
    rules: Rules,
    policy: type[Replica],
    replicas: int | None,
    edits: list[Edit],
    seed: int,
) -> dict[str, float]:
    """One policy through one day. replicas: None = as KEDA says."""
    started = time.process_time()
    machine = Machine(noise=options.noise, batch_share=options.batch_share)
    fleet = Fleet(simpy.Environment(), policy, machine, random.Random(seed), options.load_seconds)
    scaler = Autoscaler(rules, fleet)
    if replicas is None:
        scaler.start()
    for _ in range(replicas or 0):
        fleet.add(loaded=True)
    fleet.serve(edits)
    hours = fleet.gpu_hours()
    in_time = sum(outcome.met for outcome in fleet.outcomes)
    most = max((size for _, size in scaler.sizes), default=replicas or 0)
    return summary(fleet.outcomes) | {
        "gpu_hours": hours,
        "in_time_per_gpu_hour": in_time / hours,
        "most_replicas": most,
        "cpu_seconds": time.process_time() - started,
    }


def summary(outcomes: list[Outcome]) -> dict[str, float]:
    """Shares of all edits; percentiles of the finished ones' latencies in seconds."""
    latencies = [outcome.latency for outcome in outcomes if outcome.end == "finished"]
    all_edits = len(outcomes)
    in_time, refused = sum(o.met for o in outcomes), sum(o.end == "refused" for o in outcomes)
    return {
        "edits": len(outcomes),
        "in_time": in_time / all_edits,
        "refused": refused / all_edits,
        "late": (len(outcomes) - in_time - refused) / all_edits,
        "p50": percentile(latencies, 0.50),
        "p95": percentile(latencies, 0.95),
    }


def percentile(values: list[float], part: float) -> float:
    """The smallest value that so large a part does not exceed; 0 where there is none."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)] if values else 0.0


def mean(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Column by column."""
    return {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}


def line(row: dict[str, Any]) -> str:
    """One row for people."""
    return (
        f"replicas {row['replicas']!s:>4} {row['policy']}: {row['edits']:.0f} edits, in time {row['in_time']:.2%}, "
        f"refused {row['refused']:.2%}, late {row['late']:.2%}, P50 {row['p50']:.2f} s, P95 {row['p95']:.2f} s, "
        f"{row['gpu_hours']:.1f} GPU-hours, {row['in_time_per_gpu_hour']:.0f} in time per GPU-hour, "
        f"at most {row['most_replicas']:.0f} replicas ({row['cpu_seconds']:.1f} s of processor time)"
    )


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """The real run, and what the simulation says of it."""
    run = fleet_run.measure(options.real_seconds, options.real_load, options.seeds[0], options.models)
    measured = figures(run.outcomes, run.seconds)
    predictions = [predict(run, seed) for seed in range(PREDICTIONS)]
    predicted = {name: statistics.median(row[name] for row in predictions) for name in measured}
    off = {name: predicted[name] / measured[name] - 1 for name in measured if measured[name]}
    print(f"two real replicas on {processor_name()}, load average {os.getloadavg()[0]:.1f}:")
    print(f"  {len(run.outcomes)} edits in {run.seconds:.1f} s")
    for name, value in measured.items():
        print(f"  {name}: measured {value:.3f}, predicted {predicted[name]:.3f}, off by {off.get(name, 0.0):+.1%}")
    kinds = {f"{tokens} tokens": asdict(middle(takes)) for tokens, takes in by_tokens(run.outcomes).items()}
    return {
        "machine": processor_name(),
        "load_average": os.getloadavg()[0],
        "edits": len(run.outcomes),
        "overhead_seconds": run.overhead,
        "seconds_by_size": kinds,
        "measured": measured,
        "predicted": predicted,
        "off": off,
    }


def predict(run: fleet_run.Run, seed: int) -> dict[str, float]:
    """The same arrivals through two simulated replicas.

    Each edit takes what one of its size took in the run.
    """
    dice, takes = random.Random(seed), by_tokens(run.outcomes)
    edits = [
        Edit(e.at, e.steps, e.tokens, e.patience, dice.choice(takes[e.tokens])) for e in (o.edit for o in run.outcomes)
    ]
    machine = Machine(overhead=run.overhead, noise=0.0, max_batch=1)
    fleet = Fleet(simpy.Environment(), EngineReplica, machine, dice, 0.0)
    for _ in range(fleet_run.REPLICAS):
        fleet.add(loaded=True)
    fleet.serve(edits)
    return figures(fleet.outcomes, fleet.env.now)


def figures(outcomes: list[Outcome], seconds: float) -> dict[str, float]:
    """The compared figures: latencies in seconds, images per second, share in time."""
    row = summary(outcomes)
    finished = sum(outcome.end == "finished" for outcome in outcomes)
    return {"p50": row["p50"], "p95": row["p95"], "per_second": finished / seconds, "in_time": row["in_time"]}


def by_tokens(outcomes: list[Outcome]) -> dict[int, list[Durations]]:
    """Durations of the finished edits by size."""
    found: dict[int, list[Durations]] = {}
    for outcome in outcomes:
        if outcome.end == "finished":
            found.setdefault(outcome.edit.tokens, []).append(outcome.edit.durations)
    return found


def middle(takes: list[Durations]) -> Durations:
    """The median of each part."""
    return Durations(*(statistics.median(getattr(d, part) for d in takes) for part in ("prepare", "step", "decode")))


if __name__ == "__main__":
    main()
