"""The end of a chain: combine painted and original pixels by the mask alpha.

Pure functions of arrays.
"""

from __future__ import annotations

import numpy as np

from imgedit.imaging.images import Picture, blend
from imgedit.imaging.pixels import Pixels
from services.orchestrator.chain.state import ChainState, CompositeResult, MaskResult, PaintResult
from services.orchestrator.imaging.colour_match import match_colours
from services.orchestrator.imaging.foreground_colours import ForegroundColours, share_of_cutout, share_of_subject


def composited(state: ChainState, *, postprocess: bool) -> CompositeResult:
    """The painted image over the original, by its mask alpha.

    Where the mask alpha is 0 the original bytes are untouched. postprocess: match the painted region's tone to its
    surroundings, and keep the subject in its own colours at soft edges. If nothing was painted, nothing changes.
    """
    picture, mask, painted = state.picture, state.mask, state.painted
    if painted is None:
        nothing = np.zeros(picture.rgb.shape[:2], np.uint8)
        return CompositeResult(picture, nothing, mask.source if mask else "whole")
    if mask is None:
        return CompositeResult(Picture(painted.rgb), np.full(painted.rgb.shape[:2], 255, np.uint8), "whole")
    repainted, kept = painted.rgb, picture.rgb
    if postprocess:
        repainted = _matched(picture, painted, mask)
        if mask.foreground_colours is not None and mask.kept_subject is not None:
            kept = mask.foreground_colours.relaid(kept, share_of_subject(mask.alpha, mask.kept_subject))
    rgb = blend(repainted, kept, mask.alpha[:, :, None])
    return CompositeResult(Picture(rgb, _alpha(picture, mask)), mask.alpha, mask.source)


def cut_out(rgb: Pixels, alpha: Pixels, foreground_colours: ForegroundColours | None) -> Picture:
    """The subject of (H, W, 3) `rgb` on transparency, in its own colours if available."""
    if foreground_colours is not None:
        rgb = foreground_colours.relaid(rgb, share_of_cutout(alpha))
    return Picture(rgb, alpha)


def _alpha(picture: Picture, mask: MaskResult) -> Pixels | None:
    """The picture's alpha, opaque where it was painted over."""
    if picture.alpha is None:
        return None
    return blend(np.full_like(picture.alpha, 255), picture.alpha, mask.alpha)


def _matched(picture: Picture, painted: PaintResult, mask: MaskResult) -> Pixels:
    """The painted image in the tone of the original.

    Only the work area is matched, because only it was painted.
    """
    box = painted.area.box.slices
    seen = Picture(picture.rgb[box], None if picture.alpha is None else picture.alpha[box]).over_white()
    matched = painted.rgb.copy()
    matched[box] = match_colours(painted.rgb[box], seen, mask.alpha[box])
    return matched
