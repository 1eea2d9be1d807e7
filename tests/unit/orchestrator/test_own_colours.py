"""The subject's own colours.

No old background shines through its soft edge, whatever size BEN2 looked at.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imgedit.imaging.images import Pixels, resized
from services.orchestrator.chain.composite import composited, cut_out
from services.orchestrator.chain.state import ChainState
from services.orchestrator.imaging import masks
from services.orchestrator.imaging.foreground_colours import ForegroundColours, share_of_subject
from services.orchestrator.imaging.masks import MaskOptions
from services.segmentation.foreground import estimate_foreground

RED, GREEN, BLUE = (220, 30, 30), (30, 220, 30), (30, 30, 220)
BACKGROUND = MaskOptions("background")


def subject_alpha(side: int) -> Pixels:
    """A disc with an edge that is soft over an eighth of the picture, as hair is."""
    rows, columns = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    return np.rint(255 * np.clip((0.3 - np.hypot(rows, columns)) / 0.125 + 0.5, 0, 1)).astype(np.uint8)


def mixed(alpha: Pixels, subject: tuple[int, ...], ground: tuple[int, ...]) -> Pixels:
    share = alpha[:, :, None] / 255
    return np.rint(np.array(subject) * share + np.array(ground) * (1 - share)).astype(np.uint8)


def repainted_blue(side: int, seen_side: int, *, postprocess: bool, options: MaskOptions = BACKGROUND) -> ChainState:
    """A red disc on green, of which BEN2 saw `seen_side` pixels, laid on blue."""
    alpha = subject_alpha(side)
    rgb = mixed(alpha, RED, GREEN)
    seen, seen_alpha = (resized(image, (seen_side, seen_side), Image.Resampling.BOX) for image in (rgb, alpha))
    own = ForegroundColours(seen, estimate_foreground(seen, seen_alpha.astype(np.float32) / 255))
    levelled = masks.levelled(alpha, options)
    state = ChainState(
        rgb,
        None,
        mask_alpha=masks.shaped(levelled, options),
        kept_subject=255 - levelled,
        foreground_colours=own,
        painted=np.broadcast_to(np.array(BLUE, np.uint8), rgb.shape),
    )
    return composited(state, postprocess=postprocess)


def soft_edge(state: ChainState) -> np.ndarray:
    assert state.mask_alpha is not None
    return (state.mask_alpha > 0) & (state.mask_alpha < 255)


@pytest.mark.parametrize(("side", "seen_side"), [(160, 160), (320, 160), (250, 100)])
def test_no_old_background_is_left_in_the_soft_edge(side: int, seen_side: int) -> None:
    done = repainted_blue(side, seen_side, postprocess=True)
    edge = done.rgb[soft_edge(done)]
    assert edge[:, 1].max() <= 30 + 25
    assert edge[:, 1].mean() <= 30 + 8
    wanted = mixed(255 - done.mask_alpha, RED, BLUE)[soft_edge(done)]  # type: ignore[operator]
    assert np.abs(edge.astype(int) - wanted).mean() < 6


def test_without_postprocessing_the_old_background_shines_through() -> None:
    done = repainted_blue(160, 160, postprocess=False)
    assert done.rgb[soft_edge(done), 1].max() > 70


@pytest.mark.parametrize(
    "options",
    [
        MaskOptions("background", grow_px=6),
        MaskOptions("background", feather_px=12),
        MaskOptions("background", threshold=0.3, grow_px=4, feather_px=9),
        MaskOptions("subject", invert=True),
    ],
)
def test_the_subject_and_what_is_kept_of_the_background_are_untouched_under_every_option(options: MaskOptions) -> None:
    done = repainted_blue(160, 160, postprocess=True, options=options)
    original = mixed(subject_alpha(160), RED, GREEN)
    kept = done.mask_alpha == 0
    assert np.array_equal(done.rgb[kept], original[kept])


def test_a_feather_that_keeps_old_background_on_purpose_goes_over_into_it_evenly() -> None:
    done = repainted_blue(160, 160, postprocess=True, options=MaskOptions("background", feather_px=20))
    along = done.rgb[80, 80:].astype(int)
    assert np.abs(np.diff(along, axis=0)).max() < 45, "no seam"


@settings(max_examples=200, deadline=None)
@given(mask_alpha=st.integers(1, 254), kept=st.integers(1, 254))
def test_what_a_pixel_keeps_beyond_the_subject_is_old_background(mask_alpha: int, kept: int) -> None:
    """k K = a F + (k − a) B, checked with given F and B, where I = a F + (1 − a) B."""
    f, b = 200.0, 40.0
    a, k = kept / 255, 1 - mask_alpha / 255
    share = float(share_of_subject(np.array([[mask_alpha]], np.uint8), np.array([[kept]], np.uint8))[0, 0]) / 255
    seen = a * f + (1 - a) * b
    wanted = f if k <= a else (a * f + (k - a) * b) / k
    assert seen + share * (f - seen) == pytest.approx(wanted, abs=0.6)


def test_the_correction_keeps_the_detail_that_ben2_did_not_see() -> None:
    random = np.random.default_rng(4)
    fine = random.integers(90, 130, (200, 200, 3), dtype=np.uint8)
    seen = resized(fine, (50, 50), Image.Resampling.BOX)
    moved = ForegroundColours(seen, seen + np.uint8(20)).relaid(fine, np.full((200, 200), 255, np.uint8))
    assert np.abs(moved.astype(int) - fine - 20).max() <= 1


def test_a_cut_out_has_the_subjects_colours_at_its_edge_and_the_pictures_elsewhere() -> None:
    alpha = subject_alpha(160)
    rgb = mixed(alpha, RED, GREEN)
    own = ForegroundColours(rgb, estimate_foreground(rgb, alpha.astype(np.float32) / 255))
    plain, refined = cut_out(rgb, alpha, None), cut_out(rgb, alpha, own)
    soft = (alpha > 60) & (alpha < 250)
    assert plain.rgb is rgb
    assert np.array_equal(refined.rgb[alpha == 255], rgb[alpha == 255])
    assert np.array_equal(refined.rgb[alpha == 0], rgb[alpha == 0])
    assert refined.rgb[soft, 1].mean() < 45 < plain.rgb[soft, 1].mean()
