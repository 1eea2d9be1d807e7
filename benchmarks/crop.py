"""A small mask in a large picture.

Its own work area against the whole picture, on the same model.

    python -m benchmarks.crop [--rounds 3] [--steps 2] [--threads 2]

The picture has 2048 x 2048 px, the mask's box 20% of its width and height. The work area is taken as the orchestrator
takes it (`services.orchestrator.imaging.work_area`), at 1 and at 4 megapixels; the model is that of
`benchmarks.engine`. Turn about, medians. Ends with one JSON object.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.engine import model, spec_of
from imgedit.imaging.images import Pixels
from services.fill.model import FillAdapter
from services.fill.spec import FillSpec
from services.orchestrator.imaging.work_area import WorkArea
from services.orchestrator.settings import OrchestratorSettings

SIDE = 2048
BOX = 410
BUDGETS = (1_048_576, 4_194_304)
LEAST: int = OrchestratorSettings.model_fields["fill_min_work_pixels"].default


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, turn about (%(default)s)")
    parser.add_argument("--steps", type=int, default=2, help="denoise steps (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    image = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    weight = np.zeros((SIDE, SIDE), np.uint8)
    weight[900 : 900 + BOX, 300 : 300 + BOX] = 255
    with tempfile.TemporaryDirectory() as folder:
        adapter = model(Path(folder))
    rows = [measure(adapter, image, weight, budget, options.steps, options.rounds) for budget in BUDGETS]
    for row in rows:
        print(
            f"{row['max_pixels']:>9} px: whole {row['whole_px']} px {row['whole_seconds']:.2f} s, "
            f"crop {row['crop_px']} px {row['crop_seconds']:.2f} s, ratio {row['ratio']:.2f}"
        )
    print(json.dumps({"benchmark": "crop", "steps": options.steps, "rounds": options.rounds, "rows": rows}))


def measure(
    adapter: FillAdapter, image: Pixels, weight: Pixels, max_pixels: int, steps: int, rounds: int
) -> dict[str, float]:
    """Median seconds of the whole image and of the crop, with the surrounding steps."""
    whole, crop = WorkArea.of((SIDE, SIDE), max_pixels), WorkArea.around(weight, max_pixels, LEAST)
    pairs = [
        (timed(adapter, whole, image, weight, steps), timed(adapter, crop, image, weight, steps)) for _ in range(rounds)
    ]
    whole_seconds, crop_seconds = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    return {
        "max_pixels": max_pixels,
        "whole_px": whole.padded[0] * whole.padded[1],
        "crop_px": crop.padded[0] * crop.padded[1],
        "whole_seconds": round(whole_seconds, 3),
        "crop_seconds": round(crop_seconds, 3),
        "ratio": round(crop_seconds / whole_seconds, 3),
    }


def timed(adapter: FillAdapter, area: WorkArea, image: Pixels, weight: Pixels, steps: int) -> float:
    """Seconds from the full-size picture to the full-size painted one."""
    started = time.perf_counter()
    spec: FillSpec = replace(spec_of(16, steps, 0), image=area.enter(image), mask=area.enter_mask(weight))
    state = adapter.prepare(spec)
    for _ in range(steps):
        adapter.denoise([state])
    area.leave(adapter.decode(state), image)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
