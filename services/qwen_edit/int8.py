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


class Int8Linear(nn.Module):
    """A linear layer with int8 weights.

    weight (out, in) int8, scale (out,) and bias (out,) or None in the layer's number format.
    """

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / LARGEST
        # Buffers, not parameters: a network's number format is that of its parameters.
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale.to(linear.weight.dtype))
        self.bias = linear.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(…, in) → (…, out)."""
        outputs = functional.linear(inputs, self.weight.to(inputs.dtype)) * self.scale
        return outputs if self.bias is None else outputs + self.bias


def quantise(network: nn.Module, *, keep: tuple[str, ...] = ()) -> None:
    """Replace the linear layers of the network in place, except those named in `keep`."""
    for name, module in list(network.named_children()):
        if type(module) is nn.Linear and name not in keep:
            setattr(network, name, Int8Linear(module))
        else:
            quantise(module, keep=keep)
