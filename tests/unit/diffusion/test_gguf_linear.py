"""Layers that keep blocks have the dense weights of diffusers, bit by bit."""

from __future__ import annotations

import pytest
import torch
from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter, dequantize_gguf_tensor
from gguf import GGMLQuantizationType
from torch import nn

from services.diffusion.weights.gguf_linear import BLOCK_BYTES, StoredLinear, dense, use_stored_linear

OUT, BLOCKS = 24, 6


def stored(kind: str) -> GGUFParameter:
    """Random blocks whose scales are finite, negative ones among them."""
    random = torch.Generator().manual_seed(3)
    blocks = torch.randint(0, 256, (OUT, BLOCKS, BLOCK_BYTES[kind]), dtype=torch.uint8, generator=random)
    blocks[:, :, 1] &= 0xBB
    return GGUFParameter(blocks.reshape(OUT, -1), quant_type=GGMLQuantizationType[kind])


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dense_weights_have_the_bits_of_diffusers(kind: str, dtype: torch.dtype) -> None:
    parameter = stored(kind)
    assert torch.equal(dense(parameter.as_tensor(), kind, dtype), dequantize_gguf_tensor(parameter).to(dtype))


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "Q5_0"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_computes_what_diffusers_layer_does(kind: str, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BLOCK_BYTES, "Q5_0", 22)
    layer = GGUFLinear(32 * BLOCKS, OUT, bias=bias, compute_dtype=torch.float32)
    layer.weight = stored(kind)
    if bias:
        layer.bias = nn.Parameter(torch.arange(OUT).to(torch.bfloat16), requires_grad=False)
    inputs = torch.randn(3, 32 * BLOCKS, generator=torch.Generator().manual_seed(0))
    expected = layer(inputs)
    network = nn.Sequential(layer)
    use_stored_linear(network)
    assert type(network[0]) is StoredLinear
    assert torch.equal(network(inputs), expected)
