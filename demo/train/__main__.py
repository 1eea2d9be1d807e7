"""Train the demo checkpoints: `python -m demo.train PART [OPTIONS]`.

`torchrun --standalone --nproc-per-node 2 -m demo.train PART …` uses one process per core with separate batches
(`shared/distributed.py`). The parts of one model build on one another: `vae`, then `flux_fill`, then `fast`; and
`qwen_language`, then `qwen_vae`, `qwen_decoder`, `qwen_edit` and `qwen_fast`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from demo.train.shared import distributed
from demo.train.shared.loop import Budget
from demo.train.shared.run_folder import Options

DEFAULT_SEED = 20250902

PARTS = {
    "vae": ("demo.train.flux_fill.vae", 22.0),
    "flux_fill": ("demo.train.flux_fill.transformer", 30.0),
    "fast": ("demo.train.flux_fill.fast_lora", 10.0),
    "ben2": ("demo.train.ben2.train", 25.0),
    "qwen_language": ("demo.train.qwen_edit.language", 10.0),
    "qwen_vae": ("demo.train.qwen_edit.vae", 20.0),
    "qwen_decoder": ("demo.train.qwen_edit.decoder", 15.0),
    "qwen_edit": ("demo.train.qwen_edit.transformer", 30.0),
    "qwen_fast": ("demo.train.qwen_edit.fast_lora", 10.0),
}
"""By name: the module whose `run` trains it, and its minutes on two cores."""


def main(arguments: list[str] | None = None) -> int:
    """Train one part; the exit status is 0 when it was written."""
    parser = argparse.ArgumentParser(prog="python -m demo.train", description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, default=Path("demo/models"), help="folder of the model folders")
    parser.add_argument("--scratch", type=Path, default=Path("build/train"), help="states to resume from, and sheets")
    parser.add_argument("--minutes", type=float, help="length of the run (a part has its own)")
    parser.add_argument("--steps", type=int, help="length of the run in steps instead")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--resume", action="store_true", help="resume from the state in --scratch")
    given = parser.parse_args(arguments)
    module, minutes = PARTS[given.part]
    budget = Budget(steps=given.steps) if given.steps else Budget(minutes=given.minutes or minutes)
    os.environ["HF_HUB_OFFLINE"] = "1"
    options = Options(given.out, given.scratch, given.seed, budget, given.resume)
    with distributed.processes():
        importlib.import_module(module).run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
