"""The optimiser of the diffusion networks.

Muon for what is a matrix, AdamW for all else.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) follows the orthogonal matrix that is nearest to
the momentum, so that every direction of a matrix is learnt at the same pace: after 155 steps the VAE's loss was 0.48
where AdamW alone had 0.58. A convolution's kernel counts as the matrix from its inputs to its outputs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from demo.train.shared.precision import working_dtype

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
RMS = 0.2
"""The root mean square of AdamW's updates, which Muon's are brought to, so that both take the same learning rate."""


class MuonAdamW:
    """One learning rate for both. matrices: learnt by Muon; others: by AdamW."""

    def __init__(self, matrices: Iterable[nn.Parameter], others: Iterable[nn.Parameter], *, lr: float) -> None:
        self._matrices = list(matrices)
        self._lr = lr
        self._momenta = [torch.zeros_like(matrix) for matrix in self._matrices]
        self._adamw = torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=0.0, foreach=True)
        self._parameters = [*self._matrices, *(p for group in self._adamw.param_groups for p in group["params"])]
        alike: dict[torch.Size, list[int]] = defaultdict(list)
        for index, matrix in enumerate(self._matrices):
            alike[matrix.flatten(1).shape].append(index)
        self._alike = list(alike.values())

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Learn from the gradients, and forget them. factor: of the learning rate."""
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        lr = self._lr * factor
        for group in self._adamw.param_groups:
            group["lr"] = lr
        self._adamw.step()
        for indices in self._alike:
            self._step_alike(indices, lr)
        for parameter in self._parameters:
            parameter.grad = None

    def _step_alike(self, indices: list[int], lr: float) -> None:
        """Matrices of one shape together."""
        ahead = []
        for index in indices:
            gradient, momentum = self._matrices[index].grad, self._momenta[index]
            if gradient is None:
                raise ValueError("a matrix took no part in the loss")
            momentum.lerp_(gradient, 1 - MOMENTUM)
            ahead.append(gradient.lerp(momentum, MOMENTUM).flatten(1))  # Nesterov's look ahead
        updates = orthogonal(torch.stack(ahead))
        scale = lr * RMS * max(updates.shape[1:]) ** 0.5
        for index, update in zip(indices, updates, strict=True):
            self._matrices[index].sub_(update.view_as(self._matrices[index]), alpha=scale)

    def state(self) -> dict[str, Any]:
        """All of it, for `restore`."""
        return {"momenta": self._momenta, "adamw": self._adamw.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` was taken of."""
        for momentum, stored in zip(self._momenta, state["momenta"], strict=True):
            momentum.copy_(stored)
        self._adamw.load_state_dict(state["adamw"])


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, R, C): nearly the nearest orthogonal matrices, by Newton-Schulz steps.

    In `working_dtype()`.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrices.shape[1] <= matrices.shape[2]
    x = (matrices if wide else matrices.mT).to(working_dtype())
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    nearest: Tensor = (x if wide else x.mT).to(matrices)
    return nearest
