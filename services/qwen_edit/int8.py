"""Linear layers with 8-bit weights.

Half the memory of bfloat16 for the text encoder, which runs once per picture.

Each row of a weight has one scale, that of its largest value, so a weight is off by 0.4 % of it at most. The product is
computed in the input's number format, in which the 255 values are exact. Knows no model; nothing but torch is needed.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

LARGEST = 127


class Int8Linear(nn.Module):
    """A linear layer: weight (out, in) int8, scale (out,) and bias (out,) or None in the layer's number format."""

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
    """Replace every linear layer of the network in place, but those whose own names are in `keep`."""
    for name, module in list(network.named_children()):
        if type(module) is nn.Linear and name not in keep:
            setattr(network, name, Int8Linear(module))
        else:
            quantise(module, keep=keep)
