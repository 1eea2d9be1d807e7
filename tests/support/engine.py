"""Shared parts of engine and model tests: tiny checkpoints, images, a fake model."""

import asyncio
import atexit
import functools
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from demo.tiny.__main__ import write_checkpoint
from services.diffusion.engine.adapter import Part, Workload
from services.diffusion.engine.engine import Engine
from services.diffusion.engine.events import Finished
from services.diffusion.engine.region_steps import RegionSteps
from services.fill.model import FillAdapter
from services.fill.model import load_fill as load_fill
from services.fill.spec import FillSpec
from services.qwen_edit.model import QwenEditAdapter
from services.qwen_edit.model import load_qwen_edit as load_qwen
from services.qwen_edit.spec import QwenEditSpec

SMALL = 64 * 96
"""Area at which the tiny Qwen encodes and looks at pictures in tests."""


@functools.cache
def checkpoint(name: str) -> Path:
    """The folder of a tiny checkpoint, built once per test run."""
    parent = Path(tempfile.mkdtemp(prefix="tiny-"))
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    write_checkpoint(parent / name, seed=7)
    return parent / name


@functools.cache
def fill() -> FillAdapter:
    return load_fill(checkpoint("FLUX.1-Fill-dev"), device="cpu")


@functools.cache
def qwen() -> QwenEditAdapter:
    folder = checkpoint("Qwen-Image-Edit-2509")
    return load_qwen(folder, device="cpu", reference_pixels=SMALL, condition_pixels=SMALL)


@contextmanager
def placed(text_encoder: Any) -> Iterator[None]:
    """Qwen2.5-VL with image token types in every call, which diffusers omits.

    Without them transformers gives images the positions of text (huggingface/diffusers#14194).
    """

    def add(network: Any, _args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        inputs.setdefault("mm_token_type_ids", (inputs["input_ids"] == network.config.image_token_id).int())
        return (), inputs

    handle = text_encoder.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def photo(height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """A soft random picture, (height, width, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=0).repeat(16, axis=1)


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures are the same but for rounding, which depends on alignment."""
    return one.shape == other.shape and int(np.abs(one.astype(int) - other.astype(int)).max()) <= 2


def box_mask(height: int = 64, width: int = 96) -> np.ndarray:
    """White in the middle, black around."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 255
    return mask


def fill_spec(**changes: Any) -> FillSpec:
    height, width = changes.pop("height", 64), changes.pop("width", 96)
    fields: dict[str, Any] = {
        "image": photo(height, width),
        "mask": box_mask(height, width),
        "prompt": "a bright modern gym",
        "negative_prompt": None,
        "negative_scale": 3.0,
        "steps": 4,
        "guidance_scale": 3.5,
        "strength": 1.0,
        "seed": 11,
    }
    return FillSpec(**{**fields, **changes})


def qwen_spec(**changes: Any) -> QwenEditSpec:
    fields: dict[str, Any] = {
        "images": (photo(),),
        "prompt": "옷을 빨간색으로 바꿔줘",
        "negative_prompt": " ",
        "true_cfg_scale": 4.0,
        "steps": 4,
        "strength": 1.0,
        "seed": 11,
    }
    return QwenEditSpec(**{**fields, **changes})


async def finish(engine: Engine[Any, Any, Any], spec: Any, **options: Any) -> Finished[Any]:
    """Run a job to its end and give its last event."""
    async for event in engine.run_job(spec, **options):
        last = event
    assert isinstance(last, Finished)
    return last


@asynccontextmanager
async def running(adapter: Any, **options: Any) -> AsyncIterator[Engine[Any, Any, Any]]:
    engine: Engine[Any, Any, Any] = Engine(adapter, **options)
    engine.start()
    try:
        yield engine
    finally:
        await asyncio.wait_for(engine.aclose(), 60)


def with_engine(adapter: Any, scenario: Callable[[Engine[Any, Any, Any]], Awaitable[Any]], **options: Any) -> Any:
    """Run an async scenario against a fresh engine."""

    async def main() -> Any:
        async with running(adapter, **options) as engine:
            return await scenario(engine)

    return asyncio.run(main())


@dataclass(frozen=True)
class Task:
    """A job of the clockwork: its steps and decoding sleep `seconds` each.

    The quantum `fail_at` raises `error`, at most `failures` times.
    """

    name: str
    steps: int = 3
    seconds: float = 0.0
    tokens: int = 100
    key: str | None = None
    fail_at: str = ""
    error: Exception = field(default_factory=lambda: RuntimeError("broken"))
    nbytes: int = 1
    failures: float = float("inf")
    region: RegionSteps | None = None
    parts: frozenset[Part] = frozenset()


@dataclass(eq=False)
class TaskState:
    task: Task
    done: int = 0


@dataclass
class Clockwork:
    """An adapter whose work is sleeping, and which notes every quantum it runs.

    Steps wait while `gate` is closed.
    """

    name: str = "clockwork"
    revision: str = "0"
    log: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    overhead: float = 0.0
    out_of_memory_batches: bool = False
    lost: bool = False

    def __post_init__(self) -> None:
        self.gate.set()

    def workload(self, spec: Task) -> Workload:
        return Workload(
            steps=spec.steps,
            tokens=spec.tokens,
            passes=1,
            nbytes=spec.nbytes,
            batch_key=spec.key,
            region=spec.region,
            parts=spec.parts,
        )

    def unchanged(self, spec: Task) -> str:
        return f"{spec.name} unchanged"

    def prepare(self, spec: Task) -> TaskState:
        self._note("prepare", [spec])
        return TaskState(spec)

    def denoise(self, states: Sequence[TaskState]) -> None:
        if self.out_of_memory_batches and len(states) > 1:
            raise MemoryError
        self._note("step", [state.task for state in states])
        time.sleep(self.overhead + sum(state.task.seconds for state in states))
        for state in states:
            state.done += 1

    def decode(self, state: TaskState) -> str:
        self._note("decode", [state.task])
        time.sleep(state.task.seconds)
        return f"{state.task.name} after {state.done}"

    def latents(self, state: TaskState) -> np.ndarray:
        return np.full((8, 12, 4), 0.5, np.float32)

    def latent_rgb(self) -> np.ndarray:
        return np.full((5, 3), 0.2, np.float32)

    def skipped(self, state: TaskState) -> int:
        return 0

    def release(self, state: TaskState) -> None:
        self.released.append(state.task.name)

    def is_out_of_memory(self, error: Exception) -> bool:
        return isinstance(error, MemoryError)

    def device_works(self) -> bool:
        return not self.lost

    def free_memory(self) -> None:
        self.log.append("free_memory")

    def peak_memory(self) -> int:
        return 0

    async def reached(self, entry: str) -> None:
        """Come back once this quantum has begun."""
        for _ in range(5000):
            if entry in self.log:
                return
            await asyncio.sleep(0.001)
        raise AssertionError(f"{entry} was never reached: {self.log}")

    def _note(self, quantum: str, tasks: Sequence[Task]) -> None:
        assert self.gate.wait(20)
        entry = f"{quantum} {'+'.join(task.name for task in tasks)}"
        self.log.append(entry)
        for task in tasks:
            if task.fail_at == quantum and self.log.count(entry) <= task.failures:
                raise task.error


def write_lora(folder: Path, transformer: Any) -> Path:
    """A LoRA of rank 4 over the attention, with weights large enough to be seen."""
    torch.manual_seed(0)
    transformer.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False))
    layers = get_peft_model_state_dict(transformer)
    FluxFillPipeline.save_lora_weights(folder, transformer_lora_layers={k: 5 * v for k, v in layers.items()})
    return folder / "pytorch_lora_weights.safetensors"
