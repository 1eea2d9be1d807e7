"""Measure the speed and the quality of region steps.

    python -m benchmarks.region speed [--model flux qwen] [--side 1024] [--blocks 2 4] [--masks 0.2 0.5 0.8]
                                      [--repeats 7] [--steps 28] [--threads 2]
    python -m benchmarks.region quality [--tasks background add …] [--scenes 24] [--profile balanced]
                                        [--spacings 1 …] [--rims 1 …] [--caches 0.05 …] [--strip FILE.webp]

`speed` times single steps of a few blocks of the published widths, with random weights, and combines them by the
shipped schedule. In float32 it takes 6 GB for two double and four single blocks of FLUX, 6.5 GB for four blocks of
Qwen; for Qwen one pass is timed, since both passes keep keys alike, and one more row has no mask.
`quality` runs whole jobs of the demo's checkpoints, each in full and in every other way: region steps of each spacing
and rim (the shipped ones by default), and First Block Cache of each threshold. Ends with one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import torch

from benchmarks.region import quality, speed
from benchmarks.region.scenes import FILL_CASES, QWEN_CASES
from imgedit.local.supervisor import DEMO_MODELS
from services.diffusion.engine.region_steps import RegionSchedule
from services.fill.model import REGION_SCHEDULE

TASKS = (*FILL_CASES, *QWEN_CASES)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.region", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="of torch (%(default)s)")
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_speed = kinds.add_parser("speed", help="steps at the published widths")
    of_speed.add_argument("--model", nargs="+", choices=("flux", "qwen"), default=("flux", "qwen"))
    of_speed.add_argument("--side", type=int, default=1024, help="of the picture, in pixels (%(default)s)")
    of_speed.add_argument(
        "--blocks", type=int, nargs="+", help="double and single blocks of FLUX, blocks of Qwen (2 4, 4)"
    )
    of_speed.add_argument("--masks", type=float, nargs="+", default=(0.2, 0.5, 0.8), help="parts of the picture")
    of_speed.add_argument("--repeats", type=int, default=7, help="of each kind of step, interleaved (%(default)s)")
    of_speed.add_argument("--steps", type=int, default=28, help="of the job (%(default)s)")
    of_quality = kinds.add_parser("quality", help="results on the demo's world")
    of_quality.add_argument("--models", type=Path, default=DEMO_MODELS, help="folder of the checkpoints (%(default)s)")
    of_quality.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, metavar="TASK")
    of_quality.add_argument("--scenes", type=int, default=24, help="held-out scenes per task (%(default)s)")
    of_quality.add_argument("--profile", choices=("balanced", "fast"), default="balanced")
    of_quality.add_argument("--spacings", type=float, nargs="+", default=[REGION_SCHEDULE.spacing])
    of_quality.add_argument("--rims", type=int, nargs="+", default=[REGION_SCHEDULE.rim])
    of_quality.add_argument("--caches", type=float, nargs="*", default=[], help="thresholds of First Block Cache")
    of_quality.add_argument("--strip", type=Path, help="picture to write: full, region, difference")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for row in _speed(options) if options.kind == "speed" else _quality(options):
        print(json.dumps(row), flush=True)
        rows.append(row)
    print(json.dumps({"benchmark": f"region {options.kind}", "rows": rows}))


def _speed(options: argparse.Namespace) -> itertools.chain[dict[str, object]]:
    return itertools.chain.from_iterable(
        speed.rows(
            model,
            options.side,
            options.blocks or ([2, 4] if model == "flux" else [4]),
            [*options.masks, *([None] if model == "qwen" else [])],
            options.repeats,
            options.steps,
        )
        for model in options.model
    )


def _quality(options: argparse.Namespace) -> itertools.chain[dict[str, object]]:
    ways = [
        quality.Way(f"spacing {spacing:g}, rim {rim}", RegionSchedule(spacing, rim))
        for spacing in options.spacings
        for rim in options.rims
    ]
    ways += [quality.Way(f"step cache {threshold:g}", threshold=threshold) for threshold in options.caches]
    return itertools.chain(
        quality.measured(options.models, options.tasks, ways, options.scenes, options.profile, options.strip)
    )


if __name__ == "__main__":
    main()
