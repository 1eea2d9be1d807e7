"""Softmax attention, written out or as PyTorch's fused operator."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, *, fused: bool) -> Tensor:
    """Attention of q (N, heads, n, d) to k and v (N, heads, m, d); shaped as q.

    bias of the logits: (N or 1, heads, n, m). `fused` uses `scaled_dot_product_attention`, which never holds the logits
    of a long sequence.
    """
    if fused:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if bias is not None:
        logits = logits + bias
    out: Tensor = logits.softmax(-1) @ v
    return out
