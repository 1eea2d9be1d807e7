"""The end of a chain: combine painted and original pixels by the mask alpha.

Pure functions of arrays.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imgedit.imaging.images import Picture, Pixels, blend
from services.orchestrator.chain.state import ChainState
from services.orchestrator.imaging.colour_match import match_colours
from services.orchestrator.imaging.foreground_colours import ForegroundColours, share_of_cutout, share_of_subject


def composited(state: ChainState, *, postprocess: bool) -> ChainState:
    """The painted image over the original, by its mask alpha.

    Where the mask alpha is 0 the original bytes are untouched. postprocess: match the painted region's tone to its
    surroundings, and keep the subject in its own colours at soft edges. If nothing was painted, nothing changes.
    """
    painted, mask_alpha = state.painted, state.mask_alpha
    if painted is None:
        return replace(state, mask_alpha=np.zeros(state.rgb.shape[:2], np.uint8))
    if mask_alpha is None:
        return replace(state, rgb=painted, alpha=None, mask_alpha=np.full(painted.shape[:2], 255, np.uint8))
    kept = state.rgb
    if postprocess:
        painted = _matched(state, painted, mask_alpha)
        if state.foreground_colours is not None and state.kept_subject is not None:
            kept = state.foreground_colours.relaid(kept, share_of_subject(mask_alpha, state.kept_subject))
    rgb = blend(painted, kept, mask_alpha[:, :, None])
    if state.alpha is None:
        return replace(state, rgb=rgb)
    opaque = np.full_like(state.alpha, 255)
    return replace(state, rgb=rgb, alpha=blend(opaque, state.alpha, mask_alpha))


def cut_out(rgb: Pixels, alpha: Pixels, foreground_colours: ForegroundColours | None) -> Picture:
    """The subject of (H, W, 3) `rgb` on transparency, in its own colours if available."""
    if foreground_colours is not None:
        rgb = foreground_colours.relaid(rgb, share_of_cutout(alpha))
    return Picture(rgb, alpha)


def _matched(state: ChainState, painted: Pixels, mask_alpha: Pixels) -> Pixels:
    """`painted` in the tone of the original image.

    Only the work area is matched, because only it was painted.
    """
    if state.area is None:
        return painted
    box = state.area.box.slices
    seen = Picture(state.rgb[box], None if state.alpha is None else state.alpha[box]).over_white()
    matched = painted.copy()
    matched[box] = match_colours(painted[box], seen, mask_alpha[box])
    return matched
