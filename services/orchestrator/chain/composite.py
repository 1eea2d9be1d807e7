"""The end of a chain: the painted pixels over the picture's, by the weight. Pure functions of arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imgedit.imaging.images import Picture, Pixels, blend
from services.orchestrator.chain.state import Canvas
from services.orchestrator.imaging.colour_match import match_colours
from services.orchestrator.imaging.foreground_colours import OwnColours, share_of_cutout, share_of_subject


def composited(canvas: Canvas, *, postprocess: bool) -> Canvas:
    """What was painted over the canvas by its weight; where that is 0 the canvas's bytes are untouched.

    postprocess: match the painted region's tone to what is kept around it, and keep the subject in its own colours at
    soft edges. Nothing painted = nothing changes.
    """
    painted, weight = canvas.painted, canvas.weight
    if painted is None:
        return replace(canvas, weight=np.zeros(canvas.rgb.shape[:2], np.uint8))
    if weight is None:
        return replace(canvas, rgb=painted, alpha=None, weight=np.full(painted.shape[:2], 255, np.uint8))
    kept = canvas.rgb
    if postprocess:
        painted = _matched(canvas, painted, weight)
        if canvas.own_colours is not None and canvas.kept_subject is not None:
            kept = canvas.own_colours.relaid(kept, share_of_subject(weight, canvas.kept_subject))
    rgb = blend(painted, kept, weight[:, :, None])
    if canvas.alpha is None:
        return replace(canvas, rgb=rgb)
    opaque = np.full_like(canvas.alpha, 255)
    return replace(canvas, rgb=rgb, alpha=blend(opaque, canvas.alpha, weight))


def cut_out(rgb: Pixels, alpha: Pixels, own_colours: OwnColours | None) -> Picture:
    """The subject of (H, W, 3) `rgb`, transparent around it, in its own colours where there are any."""
    if own_colours is not None:
        rgb = own_colours.relaid(rgb, share_of_cutout(alpha))
    return Picture(rgb, alpha)


def _matched(canvas: Canvas, painted: Pixels, weight: Pixels) -> Pixels:
    """`painted` in the tone of the picture; only the work area was painted, so only there is anything to match."""
    if canvas.area is None:
        return painted
    box = canvas.area.box.slices
    seen = Picture(canvas.rgb[box], None if canvas.alpha is None else canvas.alpha[box]).over_white()
    matched = painted.copy()
    matched[box] = match_colours(painted[box], seen, weight[box])
    return matched
