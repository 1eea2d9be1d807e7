"""Both diffusion models and BEN2 on a GPU, with weights drawn there.

The services' own code loads the models from the published configurations; no weights go over the disk. Each diffusion
model runs in bfloat16, first eager, then with its blocks compiled, with one picture in a step and with two; its memory
is the most that torch has allocated. BEN2 runs in float16.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.full_size import checkpoints, numbers
from benchmarks.full_size.checkpoints import MODELS, Model, Overrides
from benchmarks.full_size.edits import PROMPT, SEED
from benchmarks.segmentation import build, photograph
from services.diffusion.networks.device import finish, free_memory, peak_memory
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.diffusion.weights import stored_weights
from services.diffusion.weights.reading import place
from services.fill.spec import FillSpec
from services.qwen_edit.spec import QwenEditSpec
from services.segmentation.model import prepare, to_input

BATCHES = (1, 2)
WARM_UPS = 2
STEPS = 4
"""Timed steps of each kind; the warm-ups are not, the first of which compiles."""

Tell = Callable[[str], None]
Add = Callable[..., None]


def measure(side: int, add: Add, tell: Tell) -> None:
    """Every row, each added to the report as it is known. Needs CUDA."""
    device = torch.device("cuda")
    add(device=torch.cuda.get_device_name(device), torch=torch.__version__, cuda=torch.version.cuda, side=side)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for service in MODELS:
            for found in diffusion(service, Path(scratch), {}, device, side, ("off", "regional")):
                tell(json.dumps(found))
                rows.append(found)
                add(rows=rows)
    rows.append(ben2(device))
    tell(json.dumps(rows[-1]))
    add(rows=rows, passed=True)


def diffusion(
    service: str, scratch: Path, overrides: Overrides, device: torch.device, side: int, compiled: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """The rows of one model.

    overrides: see `checkpoints`. compiled: values of the setting COMPILE.
    """
    model = MODELS[service]
    folder = scratch / model.folder
    checkpoints.write_configuration(model, folder, overrides)
    for chosen in compiled:
        started = time.perf_counter()
        runtime = RuntimeOptions(compile=chosen, max_pixels=side * side, max_batch=max(BATCHES))  # type: ignore[arg-type]
        with drawn_weights(model):
            adapter = loader(service)(folder, device=device.type, dtype="bfloat16", runtime=runtime)
        finish(device)
        seconds = time.perf_counter() - started
        for batch in BATCHES:
            yield {"model": model.folder, "compile": chosen, "load_seconds": round(seconds, 1)} | timed(
                service, adapter, device, side, batch
            )
        del adapter
        free_memory(device)


def loader(service: str) -> Any:
    """The service's own function that loads its model."""
    if service == "fill":
        from services.fill.model import load_fill

        return load_fill
    from services.qwen_edit.model import load_qwen_edit

    return load_qwen_edit


@contextmanager
def drawn_weights(model: Model) -> Iterator[None]:
    """Give networks weights that are drawn on their device, not read."""

    def load_network(cls: Any, folder: Path, dtype: torch.dtype, *_: Any, device: Any = None, **__: Any) -> Any:
        return drawn(cls, folder, dtype, device or torch.device("cpu"))

    def transformer(
        _recipe: Any, source: Any, _pipeline: Any, target: torch.device, dtype: torch.dtype, *_: Any
    ) -> Any:
        return drawn(model.layout.network, source.folder / "transformer", dtype, target)

    with (
        patch("services.diffusion.weights.checkpoint.load_network", load_network),
        patch("services.diffusion.networks.loading._transformer", transformer),
    ):
        yield


def drawn(cls: Any, folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """The network of the folder's configuration, with made-up weights on the device."""
    network = stored_weights.without_weights(cls, folder, dtype)
    shared = {name: group for group in stored_weights.tied(network) for name in group}
    random = torch.Generator(device).manual_seed(numbers.SEED)
    for name, parameter in list(network.named_parameters()):
        mean, spread = numbers.deviation(name, tuple(parameter.shape))
        tensor = torch.empty(parameter.shape, dtype=dtype, device=device).normal_(mean, spread, generator=random)
        weight = torch.nn.Parameter(tensor, requires_grad=False)
        for each in shared.get(name, {name}):
            place(network, each, weight)
    return network.to(device).eval().requires_grad_(False)


@torch.inference_mode()
def timed(service: str, adapter: Any, device: torch.device, side: int, batch: int) -> dict[str, Any]:
    """Seconds of a step of a batch, and of the phases before and after it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    marks = [time.perf_counter()]
    states = [adapter.prepare(spec(service, side, SEED + number)) for number in range(batch)]
    for _ in range(WARM_UPS):
        adapter.denoise(states)
    steps = []
    for _ in range(STEPS):
        started = time.perf_counter()
        adapter.denoise(states)
        steps.append(time.perf_counter() - started)
    marks.append(time.perf_counter())
    pictures = [adapter.decode(state) for state in states]
    marks.append(time.perf_counter())
    return {
        "batch": batch,
        "step_seconds": round(statistics.median(steps), 4),
        "with_first_steps_seconds": round(marks[1] - marks[0], 2),
        "decode_seconds": round((marks[2] - marks[1]) / batch, 3),
        "peak_gb": round(peak_memory(device) / 1e9, 2),
        "not_constant": all(float(picture.std()) > 1 for picture in pictures),
    }


def spec(service: str, side: int, seed: int) -> FillSpec | QwenEditSpec:
    """A job of one pass a step."""
    image = photograph(side, side)
    options: dict[str, Any] = {
        "prompt": PROMPT,
        "negative_prompt": None,
        "steps": WARM_UPS + STEPS,
        "strength": 1.0,
        "seed": seed,
    }
    if service == "fill":
        mask = np.full((side, side), 255, np.uint8)
        return FillSpec(image=image, mask=mask, negative_scale=1.0, guidance_scale=3.5, **options)
    return QwenEditSpec(images=(image,), true_cfg_scale=1.0, **options)


@torch.inference_mode()
def ben2(device: torch.device) -> dict[str, Any]:
    """BEN2 of the published size in float16, one picture."""
    network = build(None)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    run = prepare(network, str(device), precision="fp16")
    picture = to_input(photograph(1024, 1024), network.config.image_size).to(device)
    ends = [time.perf_counter()]
    for _ in range(WARM_UPS + STEPS):
        run(picture)
        finish(device)
        ends.append(time.perf_counter())
    seconds = [end - begin for begin, end in itertools.pairwise(ends)][WARM_UPS:]
    return {
        "model": "BEN2",
        "precision": "fp16",
        "seconds": round(statistics.median(seconds), 4),
        "peak_gb": round(peak_memory(device) / 1e9, 2),
    }


def fault(environment: Mapping[str, str]) -> str | None:
    """The reason why there is no GPU to measure; None if there is one."""
    if torch.cuda.is_available():
        return None
    build_of = f"torch {torch.__version__} is built for CUDA {torch.version.cuda}"
    if torch.version.cuda is None:
        return f"--device cuda: torch {torch.__version__} is the build for processors; install the build for CUDA"
    return (
        f"--device cuda: {build_of} and finds no GPU (CUDA_VISIBLE_DEVICES={environment.get('CUDA_VISIBLE_DEVICES')})"
    )
