"""The real services on a made-up checkpoint: catalogue, settings, edits."""

from __future__ import annotations

import hashlib
import io
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.full_size.checkpoints import Model
from benchmarks.process_memory import Watch
from imgedit import SyncEditClient
from imgedit.local.ports import Ports
from imgedit.local.supervisor import Stack, environment_of
from imgedit.progress import Progress
from imgedit.result import EditResult

HOURS = 3600.0
TIMEOUT = 24 * HOURS
"""No edit is ended for its time."""

PROMPT = "a bright modern gym with large windows"
OTHER_PROMPT = "a quiet library at night"
NEGATIVE = "blurry, watermark"
SEED = 7

CATALOGUE = """\
timeout_seconds: {timeout}
experiments:
  - id: full_size
    name: Full size
    models: [{{model_id: {model}}}]
    features:
      - id: edit
        name: Edit
        requires_mask: {masked}
        stages:
{stages}
        parameters:
          steps: {{default: 1, min: 1, max: 50}}
          guidance_scale: {{default: {guidance}, min: 1.0, max: 15.0}}
          strength: {{default: 1.0, min: 0.0, max: 1.0}}
{further}
"""
STAGES = {
    "fill": "          - mask: {choose: subject}\n          - fill\n          - composite",
    "qwen_edit": "          - qwen_edit\n          - composite",
}
GUIDED = {"fill": {"negative_scale": 3.0}, "qwen_edit": {"guidance_scale": 4.0}}


@dataclass(frozen=True)
class Edit:
    """One edit.

    side: of its square image. guided: with a negative prompt, so every step has two passes.
    """

    name: str
    side: int
    steps: int = 1
    seed: int = SEED
    prompt: str = PROMPT
    guided: bool = False


def edits(side: int, small: int) -> tuple[Edit, ...]:
    """Four small edits of one pass each, then the guided one."""
    return (
        Edit("first", small),
        Edit("again", small),
        Edit("another seed", small, seed=SEED + 1),
        Edit("another prompt", small, prompt=OTHER_PROMPT),
        Edit("guided", side, steps=2, guided=True),
    )


@dataclass
class Outcome:
    """The result of an edit.

    steps: seconds of each denoise step; the first includes the preparation.
    """

    seconds: float
    steps: list[float] = field(default_factory=list)
    phases: Mapping[str, float] = field(default_factory=dict)
    pixels: bytes = b""
    deviation: float = 0.0

    def row(self) -> dict[str, Any]:
        """For the report."""
        return {
            "seconds": round(self.seconds, 1),
            "step_seconds": [round(seconds, 1) for seconds in self.steps],
            "phase_seconds": {name: round(seconds, 1) for name, seconds in self.phases.items()},
            "sha256": hashlib.sha256(self.pixels).hexdigest()[:16],
            "deviation": round(self.deviation, 2),
        }


def environment(service: str, model: Model, folder: Path, *, dtype: str, side: int, small: int) -> dict[str, str]:
    """Settings that fit a machine without a GPU.

    folder: holds the model's folder and the catalogue.
    """
    prefix = f"IMGEDIT_{service.upper()}_"
    return {
        f"{prefix}FOLDER": model.folder,
        f"{prefix}DEVICE": "cpu",
        f"{prefix}DTYPE": dtype,
        f"{prefix}WEIGHTS": "stored",
        f"{prefix}TEXT_ENCODER_WEIGHTS": "int8",
        f"{prefix}MAX_BATCH": "1",
        f"{prefix}MAX_PIXELS": str(side * side),
        "IMGEDIT_ORCHESTRATOR_EXPERIMENTS": str(folder / "full_size.yaml"),
        "IMGEDIT_ORCHESTRATOR_MAX_WORK_PIXELS": str(max(side * side, 4096)),
        f"IMGEDIT_ORCHESTRATOR_{service.upper()}_MIN_WORK_PIXELS": str(small * small),
        "IMGEDIT_ORCHESTRATOR_PROMPT": "",
    }


def write_catalogue(service: str, folder: Path) -> None:
    """Write the catalogue of `environment`: from one step, with a deadline of a day."""
    content = CATALOGUE.format(
        timeout=TIMEOUT,
        model={"fill": "FLUX.1-Fill", "qwen_edit": "Qwen-Image-Edit-2509"}[service],
        masked=str(service == "fill").lower(),
        stages=STAGES[service],
        guidance={"fill": 3.5, "qwen_edit": 1.0}[service],
        further="          negative_scale: {default: 3.0, min: 1.0, max: 10.0}" if service == "fill" else "",
    )
    (folder / "full_size.yaml").write_text(content, encoding="utf-8")


@contextmanager
def running(
    service: str, models: Path, logs: Path, settings: Mapping[str, str], on_wait: Callable[[str], None]
) -> Iterator[tuple[SyncEditClient, Watch, float]]:
    """Run the orchestrator and the model service.

    Yields a client, the watch over the model service, and the seconds until it served.
    """
    ports = Ports.free()
    stack = Stack(ports, logs, {**environment_of(ports, models), **settings}, services=(service,))
    watch = None
    started = time.perf_counter()
    try:
        stack.start()
        watch = Watch(stack.processes[service].pid, "load")
        list(stack.wait_until_serving(timeout=TIMEOUT, on_wait=on_wait))
        seconds = time.perf_counter() - started
        with SyncEditClient(ports.address("orchestrator")) as client:
            yield client, watch, seconds
    finally:
        if watch is not None:
            watch.close()
        stack.stop()


def run(client: SyncEditClient, watch: Watch, service: str, edit: Edit, tell: Callable[[str], None]) -> Outcome:
    """Send one edit; a line for every step."""
    started = time.perf_counter()
    ends = [started]

    def on_progress(now: Progress) -> None:
        if now.step == len(ends):
            ends.append(time.perf_counter())
            tell(f"{edit.name}: step {now.step} of {now.steps}, {ends[-1] - ends[-2]:.1f} s")
            watch.enter(f"{edit.name}: {'decode' if now.step == now.steps else 'further steps'}")

    watch.enter(f"{edit.name}: prepare and first step")
    options: dict[str, Any] = {"prompt": edit.prompt, "seed": edit.seed, "steps": edit.steps, "postprocess": False}
    if edit.guided:
        options |= {"negative_prompt": NEGATIVE, **GUIDED[service]}
    if service == "fill":
        options["mask"] = everywhere(edit.side)
    answer = client.edit(
        photograph(edit.side),
        experiment="full_size",
        feature="edit",
        timeout=TIMEOUT,
        on_progress=on_progress,
        **options,
    )
    pixels = np.asarray(answer.image().convert("RGB"))
    return Outcome(
        seconds=time.perf_counter() - started,
        steps=[end - begin for begin, end in itertools.pairwise(ends)],
        phases=phases_of(answer),
        pixels=pixels.tobytes(),
        deviation=float(pixels.std()),
    )


def phases_of(answer: EditResult) -> dict[str, float]:
    """Seconds by stage, as the answer has them."""
    return {timing.name: timing.seconds for timing in answer.stage_timings}


def photograph(side: int) -> bytes:
    """A PNG of smooth colours under fine grain."""
    random = np.random.default_rng(SEED)
    smooth = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    grain = random.integers(-4, 5, (side, side, 1), np.int16)
    return _png(np.clip(np.asarray(smooth, np.int16) + grain, 0, 255).astype(np.uint8))


def everywhere(side: int) -> bytes:
    """A PNG mask of all but a thin rim, so the work area is the whole image."""
    mask = np.zeros((side, side), np.uint8)
    rim = side // 16
    mask[rim : side - rim, rim : side - rim] = 255
    return _png(mask)


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
