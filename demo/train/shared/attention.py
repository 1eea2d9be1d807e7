"""Attention for training on a CPU, written out.

In bfloat16 half the time of the fused one, forward and back.

For a few hundred tokens, whose scores fit into memory. Knows no network.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


def written_out(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: Any) -> Tensor:
    """softmax(Q Kᵀ / √D) V of (B, N, H, D).

    attn_mask: bool, broadcast to (B, H, N, N), False = ignored.
    """
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
    if attn_mask is not None:
        scores = scores + torch.zeros_like(attn_mask, dtype=scores.dtype).masked_fill(~attn_mask, float("-inf"))
    looked_up: Tensor = scores.softmax(dim=-1, dtype=scores.dtype) @ value
    return looked_up.transpose(1, 2)


@contextmanager
def attention_written_out(module: ModuleType) -> Iterator[None]:
    """Use this attention in a diffusers module with `dispatch_attention_fn`."""
    library: Any = module
    fused = library.dispatch_attention_fn
    library.dispatch_attention_fn = written_out
    try:
        yield
    finally:
        library.dispatch_attention_fn = fused
