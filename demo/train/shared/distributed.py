"""Data-parallel training: several processes, averaged gradients.

`torchrun --standalone --nproc-per-node 2 -m demo.train PART` starts two processes, whose weights stay bit-identical.
With a single process every function here does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed, nn

LONGEST_WAIT = timedelta(hours=6)
"""For the others, while one of them encodes examples."""


@contextmanager
def processes() -> Iterator[None]:
    """Inside the block those that torchrun has started know one another."""
    if not distributed.is_torchelastic_launched():
        yield
        return
    distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def count() -> int:
    """How many there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the one that writes files and speaks."""
    return rank() == 0


def wait() -> None:
    """Go on when all of them are here."""
    if count() > 1:
        distributed.barrier()


def as_the_first(value: float) -> float:
    """Broadcast the first process's value to all processes."""
    if count() == 1:
        return value
    told = torch.tensor(value, dtype=torch.float64)
    distributed.broadcast(told, src=0)
    return told.item()


def average_gradients(weights: Iterable[nn.Parameter]) -> None:
    """Average each gradient over all processes.

    A missing one counts as 0.
    """
    if count() == 1:
        return
    learnt = [weight for weight in weights if weight.requires_grad]
    there = torch.tensor([float(weight.grad is not None) for weight in learnt])
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in learnt]
    added = torch.cat([there, *(gradient.flatten() for gradient in gradients)])
    distributed.all_reduce(added)
    there, *sums = torch.split(added, [len(learnt), *(weight.numel() for weight in learnt)])
    for weight, anywhere, total in zip(learnt, there.tolist(), sums, strict=True):
        weight.grad = (total / count()).view_as(weight) if anywhere else None
