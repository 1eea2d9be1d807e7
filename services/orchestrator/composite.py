"""The end of a chain: the painted pixels over the picture's, by the weight. Pure functions of arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imgedit.images import Pixels, blend
from services.orchestrator.canvas import Canvas


def composited(canvas: Canvas, painted: Pixels) -> Canvas:
    """`painted` (H, W, 3) over the canvas by its weight; where that is 0 the canvas's bytes are untouched."""
    if canvas.weight is None:
        return replace(canvas, rgb=painted, alpha=None, weight=np.full(painted.shape[:2], 255, np.uint8))
    rgb = blend(painted, canvas.rgb, canvas.weight[:, :, None])
    if canvas.alpha is None:
        return replace(canvas, rgb=rgb)
    opaque = np.full_like(canvas.alpha, 255)
    return replace(canvas, rgb=rgb, alpha=blend(opaque, canvas.alpha, canvas.weight))
