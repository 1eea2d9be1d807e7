"""BEN2 prepared for an accelerator.

The plain modules in half precision, channels last, with fused attention. cuDNN and fused attention already avoid the
copies that are expensive on a CPU, so no layer is rewritten.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from services.segmentation.ben2.backbone import SwinBlock, WindowAttention
from services.segmentation.ben2.decoder import CrossAttention, Refinement
from services.segmentation.ben2.network import BEN2


class AcceleratedBEN2:
    """A copy of the network on `device` in `dtype`.

    `compile_blocks` compiles only the repeated blocks: seconds of warm-up instead of minutes.
    """

    def __init__(self, network: BEN2, device: str, dtype: torch.dtype, *, compile_blocks: bool = False) -> None:
        self._device = device
        self._dtype = dtype
        self._network = copy.deepcopy(network).to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in self._network.modules():
            if isinstance(module, WindowAttention | CrossAttention):
                module.fused = True
            if compile_blocks and isinstance(module, SwinBlock | Refinement):
                module.compile()

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """(B, 3, S, S), ImageNet-normalised -> (B, 1, S, S) float32 alpha in [0, 1].

        On the network's device.
        """
        x = x.to(self._device, self._dtype, memory_format=torch.channels_last)
        out: Tensor = self._network(x)
        return out.float()
