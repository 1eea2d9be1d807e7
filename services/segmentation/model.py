"""BEN2 for the segmentation service: an image in, the subject's alpha out.

Chooses device and precision, prepares the network once, resizes in and out. Everything here is synchronous and belongs
to one worker thread. The alpha is the network's own, neither stretched nor cut; the orchestrator's mask stage does
that.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from imgedit.errors import NumericFailure, OutOfMemory, SettingsError
from services.common.worker import DeviceLost
from services.diffusion.networks.device import device_named, free_memory, is_out_of_memory, works
from services.segmentation.ben2 import BEN2, load, revision, weights_file
from services.segmentation.ben2.accelerator import AcceleratedBEN2
from services.segmentation.ben2.cpu import PreparedBEN2
from services.segmentation.foreground import estimate_foreground

__all__ = ["Segmenter", "estimate_foreground", "prepare"]

_log = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Network = Callable[[Tensor], Tensor]
Pixels = NDArray[np.uint8]


def prepare(
    network: BEN2,
    device: str = "cpu",
    *,
    precision: str = "auto",
    compile_blocks: bool = False,
    on_retry: Callable[[], None] | None = None,
) -> Network:
    """The network as a callable, optimised for `device` ("cpu", "cuda", …).

    It takes (B, 3, S, S), ImageNet-normalised, and returns (B, 1, S, S) float32 alpha in [0, 1]. It reuses its buffers:
    one thread at a time. `precision` is "auto" (see `auto_precision`), "fp32", "bf16" or, off the CPU, "fp16". A
    half-precision result that is not finite is computed again in float32 on the same device, after a call of
    `on_retry`; NumericFailure if that is not finite either. `compile_blocks` compiles the repeated blocks on an
    accelerator. Raises SettingsError for an unsupported precision.
    """
    precision = auto_precision(device) if precision == "auto" else precision
    if precision not in PRECISIONS or (device == "cpu" and precision == "fp16"):
        raise SettingsError(f"BEN2: precision {precision!r} is not one of auto, fp32, bf16 (or fp16 on an accelerator)")
    network.requires_grad_(False).eval()
    dtype = PRECISIONS[precision]
    if device == "cpu":
        fast: Network = PreparedBEN2(network, dtype)
    else:
        fast = AcceleratedBEN2(network, device, dtype, compile_blocks=compile_blocks)

    @functools.cache
    def exact() -> Network:
        """The network in float32 on the same device; made on first use."""
        return network if device == "cpu" else AcceleratedBEN2(network, device, torch.float32)

    def run(x: Tensor) -> Tensor:
        alpha = fast(x)
        if dtype != torch.float32 and not bool(alpha.isfinite().all()):
            if on_retry is not None:
                on_retry()
            with torch.inference_mode():
                alpha = exact()(x.float())
        if not bool(alpha.isfinite().all()):
            raise NumericFailure(
                "BEN2: the mask is not finite, in float32 either; are the weights damaged?",
                korean="BEN2의 마스크 계산에서 수치 오류(NaN 또는 무한대)가 발생했습니다. "
                "관리자에게 가중치 파일을 확인해 달라고 요청하세요.",
            )
        return alpha

    return run


def auto_precision(device: str) -> str:
    """The number format for `device`.

    bf16 with hardware support (AMX, AVX512-BF16, a recent GPU), else fp32 on a CPU and fp16 on an accelerator.
    """
    if device == "cpu":
        features = torch.cpu.get_capabilities()
        return "bf16" if features.get("amx_bf16") or features.get("avx512_bf16") else "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


class Segmenter:
    """The loaded network and the steps around it; one thread at a time."""

    def __init__(self, run: Network, *, side: int, device: torch.device, precision: str, revision: str) -> None:
        self.revision = revision
        """Short hash of the weights, for cache keys and answers."""
        self.precision = precision
        """Number format that the network runs in: "fp32", "bf16" or "fp16"."""
        self._run = run
        self._side = side
        self._device = device

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        compile_blocks: bool = False,
        on_retry: Callable[[], None] | None = None,
    ) -> Segmenter:
        """Load the weights in `folder` and prepare them (see `prepare`).

        `device` "auto" is cuda if available, else cpu. Raises ModelLoadError for missing or damaged weights,
        SettingsError for an unavailable device or precision.
        """
        target = device_named(device)
        precision = auto_precision(target.type) if precision == "auto" else precision
        network = load(folder)
        run = prepare(network, str(target), precision=precision, compile_blocks=compile_blocks, on_retry=on_retry)
        weights = revision(weights_file(folder))
        return cls(run, side=network.config.image_size, device=target, precision=precision, revision=weights)

    def warm_up(self) -> None:
        """Run the network once on a grey image, so that the first request is not slower."""
        self.alpha(np.full((self._side, self._side, 3), 128, np.uint8))

    def alpha(self, image: Pixels) -> NDArray[np.float32]:
        """(H, W, 3) sRGB uint8 -> (H, W) float32 in [0, 1], 1 = subject.

        The network's sigmoid, without stretching to 0–1, so an image without a subject stays without one. An image of
        the network's size is not resized. Raises OutOfMemory, after which the next image works, NumericFailure for a
        map that is not finite, and DeviceLost, after which none works.
        """
        try:
            height, width = image.shape[:2]
            return from_map(self._run(to_input(image, self._side)), height, width)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                if not works(self._device):
                    raise DeviceLost(f"the device answers no call any more: {error}") from error
                raise
            _log.warning("out of memory: %s", error)
        # Only here the error is released, and with it the frames that held the tensors.
        free_memory(self._device)
        raise OutOfMemory("The device ran out of memory. Send a smaller picture (2048 → 1024).")


def to_input(image: Pixels, side: int) -> Tensor:
    """(H, W, 3) sRGB uint8 -> (1, 3, side, side) float32, ImageNet-normalised.

    Lanczos if the size differs.
    """
    if image.shape[:2] != (side, side):
        image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS))
    pixels = torch.empty(1, 3, side, side)
    for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
        values = np.arange(256, dtype=np.float32) / 255
        normalised = (values - np.float32(mean)) / np.float32(std)  # one per pixel value: the arithmetic of 256 pixels
        np.take(normalised, image[:, :, channel], out=pixels[0, channel].numpy(), mode="clip")
    return pixels


def from_map(alpha: Tensor, height: int, width: int) -> NDArray[np.float32]:
    """(1, 1, S, S) alpha -> (height, width) float32 in [0, 1] on the CPU.

    Bilinear if the size differs.
    """
    if alpha.shape[-2:] != (height, width):
        alpha = functional.interpolate(alpha, size=(height, width), mode="bilinear")
    out: NDArray[np.float32] = alpha[0, 0].cpu().numpy()
    return out
