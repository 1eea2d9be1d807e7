"""Run a model of the published size through the real services.

    python -m benchmarks.full_size fill|qwen_edit [--keep DIR] [--type Q4_0|Q8_0] [--side 512] [--small-side 256]
                                                  [--dtype auto] [--report FILE.json]
    python -m benchmarks.full_size --device cuda [--side 1024]

Writes a checkpoint of the published configuration and layout with made-up weights (17 GB for FLUX.1-Fill, 28 GB for
Qwen-Image-Edit; deleted at the end unless --keep names a folder). Compares one block of each kind with the
library's, starts the orchestrator and the model service with settings that fit 24 GiB and no GPU, and sends five edits:
one pass of a small picture; the same again, which must give the same bytes; another seed; another prompt; and the
guided edit of 2 steps, whose every step has two passes. A line for every step. The report is written after every edit,
so Ctrl-C leaves what is known by then. It holds the load seconds, the seconds of every step, and the peak memory of the
model service by phase beside what `imgedit doctor` predicts for the same settings. Exit code 1 where a check failed.

With --device cuda both models run at 1024² in bfloat16, eager and compiled, see `benchmarks.full_size.cuda`.

A small configuration in the same layout (--small) runs in seconds; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.full_size import blocks, checkpoints, cuda
from benchmarks.full_size.checkpoints import MODELS, Model
from benchmarks.full_size.edits import Edit, Outcome, edits, environment, run, running, write_catalogue
from benchmarks.process_memory import Peak
from imgedit.local.doctor_memory import predicted
from imgedit.local.host_memory import host_memory
from services.diffusion.networks.device import DTYPES
from services.diffusion.probe import found as probed

TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 2e-3}
"""Largest difference of a block from the library's, as a part of its largest number."""
GOAL = 0.1
"""A prediction may be off by so much of what was measured."""
DISK_BYTES = 45 * 10**9
OTHERS_BYTES = 10**9
"""Of the orchestrator, its decoders and this process."""
PHASES = ("load", "edit")


def main(arguments: list[str] | None = None) -> int:
    """Measure, and say whether all checks passed."""
    options = _parser().parse_args(arguments)
    if options.device == "cuda" and (fault := cuda.fault(os.environ)):
        _parser().error(fault)
    if options.device == "cpu" and options.model is None:
        _parser().error("name a model, fill or qwen_edit, or --device cuda for both")
    for number in (signal.SIGINT, signal.SIGTERM):  # in the background a shell has SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    report = Report(options.report or Path("build") / f"full_size_{options.model or 'cuda'}.json")
    try:
        if options.device == "cuda":
            cuda.measure(options.side or 1024, report.add, tell)
        else:
            _on_processor(options, report)
    except KeyboardInterrupt:
        report.add(stopped=True)
        print(f"stopped; what is known by now is in {report.path}", flush=True)
        return 130
    print(json.dumps(report.content))
    return 0 if report.content["passed"] else 1


def _on_processor(options: argparse.Namespace, report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="full-size-", dir=options.folder) as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        measure(options, folder.resolve(), report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_size", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", choices=[*MODELS], help="which model, on the CPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: both models (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the checkpoint there, keep it, use it again")
    parser.add_argument("--folder", type=Path, help="where the checkpoint is written and removed; default: /tmp")
    parser.add_argument("--type", choices=("Q4_0", "Q8_0"), default="Q4_0", help="of the transformer (%(default)s)")
    parser.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help="auto: as the processor multiplies")
    parser.add_argument("--side", type=int, help="of the guided edit's picture, px (512 on the CPU, 1024 on CUDA)")
    parser.add_argument("--small-side", type=int, default=256, help="of the other edits' pictures, px (%(default)s)")
    parser.add_argument(
        "--text-tokens",
        type=int,
        help="of a prompt of T5; the published tokenizer has 512, and every step computes them",
    )
    parser.add_argument("--report", type=Path, help="JSON file of the figures; default: build/full_size_MODEL.json")
    parser.add_argument("--small", action="store_true", help="a small configuration in the same layout, for a trial")
    return parser


class Report:
    """The figures so far, in a file that is rewritten with each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] = {"benchmark": "full_size"}

    def add(self, **figures: Any) -> None:
        """Add figures and write them all."""
        self.content |= figures
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_suffix(".tmp")
        scratch.write_text(json.dumps(self.content, indent=2) + "\n", encoding="utf-8")
        scratch.replace(self.path)


def tell(line: str) -> None:
    """Print one line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def measure(options: argparse.Namespace, folder: Path, report: Report) -> None:
    """Write the checkpoint, compare the blocks, run the edits, report each figure."""
    model, service = MODELS[options.model], options.model
    side, small = options.side or 512, options.small_side
    dtype = _dtype(options.dtype)
    settings = environment(service, model, folder, dtype=dtype, side=side, small=small)
    report.add(model=model.folder, type=options.type, dtype=dtype, side=side, small_side=small)
    report.add(text_tokens=options.text_tokens or "as published", settings=settings)
    report.add(torch=torch.__version__, threads=torch.get_num_threads())
    write(model, folder, options)
    prediction = predicted(service, folder, settings)
    report.add(predicted=prediction)
    _refuse_without_room(prediction)
    found = blocks.differences_apart(service, folder / model.folder, dtype)
    tell(f"blocks against the library's: {found}")
    report.add(block_difference=found)
    write_catalogue(service, folder)
    outcomes: dict[str, Outcome] = {}
    with running(service, folder, folder / "logs", settings, tell) as (client, watch, seconds):
        tell(f"serving after {seconds:.0f} s")
        report.add(load_seconds=round(seconds, 1), peak_bytes=_peaks(watch.peaks))
        try:
            for edit in edits(side, small):
                outcomes[edit.name] = run(client, watch, service, edit, tell)
                _add(report, edit, outcomes)
        finally:  # also where the run is stopped in the middle of an edit
            report.add(peak_bytes=_peaks(watch.peaks), memory=compared(prediction, watch.peaks))
    checks = judged(outcomes, found, TOLERANCE[dtype])
    if not options.small:
        checks |= {f"{row['phase']}: {row['kind']} as predicted": row["is_near"] for row in report.content["memory"]}
    report.add(checks=checks, passed=all(checks.values()))


def _dtype(name: str) -> str:
    if name != "auto":
        return name
    return "bfloat16" if probed()["cpu_bf16"] else "float32"


def write(model: Model, folder: Path, options: argparse.Namespace) -> None:
    """Write the checkpoint unless it exists.

    Raises `SystemExit` if the disk is too full.
    """
    overrides = dict(model.small) if options.small else {}
    if options.text_tokens and "tokenizer_2" in checkpoints.parts_of(model):
        overrides["tokenizer_2"] = {"model_max_length": options.text_tokens}
    size = 0 if options.small else checkpoints.size_of(model, options.type)
    free = shutil.disk_usage(folder).free
    is_there = (folder / model.folder / checkpoints.COMPLETE).is_file()
    if not is_there and size > min(free, DISK_BYTES):
        sys.exit(f"{folder} has {free / 1e9:.1f} GB free, and the checkpoint takes {size / 1e9:.1f} of at most 45 GB")
    started = time.perf_counter()
    checkpoints.write(
        model,
        folder / model.folder,
        options.type,
        overrides,
        lambda name, written: tell(f"wrote {name}, {written / 1e9:.2f} GB, {time.perf_counter() - started:.0f} s"),
    )


def _refuse_without_room(prediction: Mapping[str, Any]) -> None:
    """Raise `SystemExit` if the machine has less memory than the service needs."""
    machine, most = host_memory(), prediction["host"]
    if machine is not None and machine.available < most + OTHERS_BYTES:
        sys.exit(
            f"the service takes {most / 1e9:.1f} GB, the others {OTHERS_BYTES / 1e9:.1f}, and "
            f"{machine.available / 1e9:.1f} GB are free (--dtype bfloat16 takes less, and is slow without AMX)"
        )


def compared(prediction: Mapping[str, Any], peaks: Mapping[str, Peak]) -> list[dict[str, Any]]:
    """The peaks of loading and of all edits beside the prediction."""
    rows = []
    for phase in PHASES:
        seen = [(name, peak) for name, peak in [*peaks.items()] if peak.resident]
        watched = [peak for name, peak in seen if (name == "load") == (phase == "load")]
        for kind in ("anonymous", "resident") if watched else ():
            measured, expected = max(getattr(peak, kind) for peak in watched), prediction[phase][kind]
            off = expected / measured - 1
            row = {"phase": phase, "kind": kind, "measured": measured, "predicted": expected}
            rows.append(row | {"off": round(off, 3), "is_near": abs(off) <= GOAL})
    return rows


def _add(report: Report, edit: Edit, outcomes: Mapping[str, Outcome]) -> None:
    tell(f"{edit.name}: {outcomes[edit.name].seconds:.1f} s")
    rows = {name: outcome.row() for name, outcome in outcomes.items()}
    report.add(edits=rows)


def _peaks(peaks: Mapping[str, Peak]) -> dict[str, dict[str, int]]:
    return {phase: {"resident": peak.resident, "anonymous": peak.anonymous} for phase, peak in [*peaks.items()]}


def judged(outcomes: Mapping[str, Outcome], blocks_off: Mapping[str, float], tolerance: float) -> dict[str, bool]:
    """The checks that prove that the network really ran."""
    first = outcomes["first"].pixels
    return {
        "not constant": all(outcome.deviation > 1 for outcome in outcomes.values()),
        "another seed gives another picture": outcomes["another seed"].pixels != first,
        "another prompt gives another picture": outcomes["another prompt"].pixels != first,
        "again gives the same bytes": outcomes["again"].pixels == first,
        "blocks equal the library's": all(off <= tolerance for off in blocks_off.values()),
    }


if __name__ == "__main__":
    sys.exit(main())
