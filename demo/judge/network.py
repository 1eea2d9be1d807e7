"""The classifier: an image, scaled to 96 × 96, becomes one score per answer."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 96


class Classifier(nn.Module):
    """Convolutions that halve the picture four times.

    The mean and the greatest of each feature decide.
    """

    def __init__(self, answers: int, width: int = 16) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width, 6 * width)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
            )
            for before, after in pairwise(widths)
        )
        self.head = nn.Linear(2 * widths[-1], answers)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, answers)."""
        x = as_seen(pictures) * 2 - 1
        for stage in self.stages:
            x = stage(x)
        scores: Tensor = self.head(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1))
        return scores


def as_seen(pictures: Tensor) -> Tensor:
    """Pictures at the size that the classifier sees, averaged where they were larger."""
    if pictures.shape[-2:] == (SIDE, SIDE):
        return pictures
    return functional.interpolate(pictures, (SIDE, SIDE), mode="bilinear", antialias=True)
