"""Placement: weights are on the device in use, and nothing is copied back.

The CPU plays the device here: moves to it copy.
"""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from services.diffusion.networks import offload
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.fill.model import load as load_fill
from services.qwen_edit.model import load as load_qwen
from tests.support.engine import SMALL, checkpoint, fill_spec, qwen_spec

MODELS = ["fill", "qwen"]


def loaded(name: str, **runtime: Any) -> Any:
    if name == "fill":
        return load_fill(checkpoint("FLUX.1-Fill-dev"), device="cpu", cache_bytes=0, runtime=RuntimeOptions(**runtime))
    return load_qwen(
        checkpoint("Qwen-Image-Edit-2509"),
        device="cpu",
        reference_pixels=SMALL,
        condition_pixels=SMALL,
        cache_bytes=0,
        runtime=RuntimeOptions(**runtime),
    )


def spec_of(name: str) -> Any:
    return fill_spec(steps=2) if name == "fill" else qwen_spec(steps=2)


def painted(model: Any, spec: Any) -> np.ndarray:
    state = model.prepare(spec)
    for _ in range(spec.steps):
        model.denoise([state])
    pixels: np.ndarray = model.decode(state)
    return pixels


@functools.cache
def of_weights_that_never_move(name: str) -> np.ndarray:
    return painted(loaded(name), spec_of(name))


def check_picture(name: str, model: Any) -> None:
    """The picture is right; where a copy begins in memory can change a rounding."""
    assert abs(painted(model, spec_of(name)).astype(int) - of_weights_that_never_move(name)).max() <= 1


def weights_of(model: Any) -> dict[str, int]:
    """Where each tensor of each network is."""
    parts = {name: part for name, part in model._pipeline.components.items() if isinstance(part, torch.nn.Module)}
    return {
        f"{name}.{key}": tensor.data_ptr()
        for name, part in parts.items()
        for key, tensor in (*part.named_parameters(), *part.named_buffers())
    }


class Device(TorchFunctionMode):
    """Count moves, as copies like on a real device, and fail at the given one."""

    def __init__(self, fail_at: int | None = None) -> None:
        super().__init__()
        self.fail_at = fail_at
        self.moves = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is not torch.Tensor.to or not any(isinstance(argument, torch.device) for argument in args):
            return result
        self.moves += 1
        if self.moves == self.fail_at:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return result.clone()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("where", ["model", "sequential"])
def test_weights_that_leave_the_device_are_not_copied_back(name: str, where: Any) -> None:
    model = loaded(name, offload=where)
    resting = weights_of(model)
    with Device() as device:
        check_picture(name, model)
        assert device.moves > 0
    if where == "sequential":
        assert weights_of(model) == resting
        return
    moved = {key for key, place in weights_of(model).items() if place != resting[key]}
    assert {key.partition(".")[0] for key in moved} == {"vae"}  # which ran last


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("network", ["text_encoder", "transformer", "vae"])
def test_nothing_stays_of_a_network_for_which_there_was_no_room(name: str, network: str) -> None:
    model = loaded(name, offload="model")
    resting = weights_of(model)
    part = getattr(model._pipeline, network)
    weights = part._hf_hook._weights
    with Device(fail_at=3), pytest.raises(torch.OutOfMemoryError):
        weights.bring(torch.device("cpu"))
    assert weights_of(model) == resting
    with Device():
        check_picture(name, model)


@pytest.mark.parametrize("name", MODELS)
def test_with_sequential_offload_no_weight_is_used_unless_its_layer_runs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound: dict[int, torch.Tensor] = {}

    class Spoilt(offload.SwappedTensors):
        """On the host there is rubbish."""

        def __init__(self, tensors: Any) -> None:
            super().__init__(tensors)
            for tensor in self._tensors:
                sound.setdefault(id(tensor), tensor.data)
            self.drop()

        def bring(self, device: torch.device) -> None:
            for tensor in self._tensors:
                tensor.data = sound[id(tensor)]

        def drop(self) -> None:
            for tensor in self._tensors:
                tensor.data = torch.full_like(tensor.data, torch.nan if tensor.is_floating_point() else 0)

    monkeypatch.setattr(offload, "SwappedTensors", Spoilt)
    model = loaded(name, offload="sequential")
    assert sound
    check_picture(name, model)
