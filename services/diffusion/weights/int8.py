"""Linear layers with 8-bit weights.

Half of bfloat16's memory, for the text encoder.

Each row has one scale, set by its largest value, so a weight is off by at most 0.4% of it. The product is computed in
the input's number format, in which the 255 values are exact.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

LARGEST = 127
CHUNK = 1024 * 1024
"""Elements that are rounded at once, a bound on the scratch memory."""


class Int8Linear(nn.Module):
    """A linear layer with an 8-bit weight.

    weight: (out, in) int8. scale (out,), bias (out,) or None: in the layer's number format.

    Made from a layer with or without numbers; `hold` gives it others.
    """

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        # Buffers, not parameters: a network's number format is that of its parameters.
        self.register_buffer("weight", torch.empty(linear.weight.shape, dtype=torch.int8, device="meta"))
        self.register_buffer("scale", None)
        self.bias = linear.bias
        if not linear.weight.is_meta:
            self.hold(linear.weight.detach(), linear.weight.dtype)

    def hold(self, weight: torch.Tensor, dtype: torch.dtype) -> None:
        """Round a dense weight to 8 bits, a few rows at a time.

        dtype: the layer's number format.
        """
        held = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
        scales = torch.empty(len(weight), dtype=dtype, device=weight.device)
        step = max(1, CHUNK // weight.shape[1])
        for begin in range(0, len(weight), step):
            numbers = weight[begin : begin + step].to(torch.float32, copy=True)
            scale = numbers.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / LARGEST
            held[begin : begin + step] = numbers.div_(scale[:, None]).round_()
            scales[begin : begin + step] = scale
        self.weight, self.scale = held, scales

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(…, in) → (…, out)."""
        outputs = functional.linear(inputs, self.weight.to(inputs.dtype)) * self.scale
        return outputs if self.bias is None else outputs + self.bias
