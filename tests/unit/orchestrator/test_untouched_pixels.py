"""Pixels of mask alpha 0 equal the input's for every request.

The whole chain, with noise for every model.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from imgedit.errors import InvalidArgument
from imgedit.imaging.images import Picture, Pixels
from imgedit.v1 import edit_pb2
from services.orchestrator.chain.extend import extended
from services.orchestrator.chain.run import Outcome
from services.orchestrator.chain.state import ChainState
from services.orchestrator.request.margins import Margins
from tests.support.chain import edited, noise_picture

QWEN = ("appearance_editing", "semantic_editing", "text_editing", "multi_image_editing")
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


PICTURES = st.builds(
    lambda width, height, has_alpha, seed: noise_picture(width, height, has_alpha=has_alpha, seed=seed),
    st.integers(16, 150),
    st.integers(16, 150),
    st.booleans(),
    st.integers(0, 99),
)

MASK_OPTIONS = st.builds(
    edit_pb2.MaskOptions,
    invert=st.booleans(),
    threshold=st.none() | st.floats(0.05, 0.95),
    fill_holes=st.booleans(),
    grow_px=st.none() | st.integers(0, 40),
    feather_px=st.none() | st.integers(0, 40),
)


def assert_untouched(outcome: Outcome, picture: Picture) -> None:
    state = outcome.state
    assert state.mask_alpha is not None
    kept = state.mask_alpha == 0
    assert np.array_equal(state.rgb[kept], picture.rgb[kept])
    if picture.alpha is not None:
        assert state.alpha is not None
        assert np.array_equal(state.alpha[kept], picture.alpha[kept])
        assert (state.alpha[state.mask_alpha == 255] == 255).all()


def box_mask(picture: Picture, box: tuple[float, float, float, float], grey: int) -> Pixels:
    """A rectangle, by its corners as parts of the sides, with a rim of `grey`."""
    width, height = picture.size
    mask_alpha = np.zeros((height, width), np.uint8)
    left, right = sorted((int(box[0] * width), int(box[1] * width)))
    top, bottom = sorted((int(box[2] * height), int(box[3] * height)))
    mask_alpha[top : bottom + 1, left : right + 1] = grey
    mask_alpha[top + 1 : bottom, left + 1 : right] = 255
    return mask_alpha


@QUICK
@given(
    picture=PICTURES,
    box=st.tuples(*[st.floats(0, 0.99)] * 4),
    grey=st.integers(1, 255),
    options=st.none() | MASK_OPTIONS,
    feature=st.sampled_from(["inpainting", "appearance_editing", "semantic_editing", "multi_image_editing"]),
    postprocess=st.sampled_from(["POSTPROCESS_ON", "POSTPROCESS_OFF"]),
    strength=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_with_a_mask_of_the_callers(
    picture: Picture,
    box: tuple[float, float, float, float],
    grey: int,
    options: edit_pb2.MaskOptions | None,
    feature: str,
    postprocess: str,
    strength: float,
) -> None:
    mask = box_mask(picture, box, grey)
    request = edit_pb2.EditRequest(
        experiment_id="ben2_flux_fill" if feature == "inpainting" else "ben2_qwen_image",
        feature_id=feature,
        prompt="a gym",
        mask_image=b"its bytes are decoded before",
        mask_options=options,
        background="BACKGROUND_UNSPECIFIED" if feature == "inpainting" else "BACKGROUND_KEEP",
        postprocess=postprocess,
        strength=strength,
    )
    if options is not None:
        assume(not options.invert or (mask < 255).any())
    try:
        outcome = edited(request, picture, mask)
    except InvalidArgument as error:
        if "nothing to repaint" not in error.message:
            raise
        return
    assert_untouched(outcome, picture)
    mask_alpha = outcome.state.mask_alpha
    assert mask_alpha is not None
    assert (mask_alpha > 0).any() == (strength > 0)
    if options is None and strength > 0:
        assert np.array_equal(mask_alpha, mask)


@QUICK
@given(
    picture=PICTURES,
    options=MASK_OPTIONS,
    subject=st.sampled_from(["MASK_SUBJECT_UNSPECIFIED", "MASK_SUBJECT_SUBJECT", "MASK_SUBJECT_BACKGROUND"]),
    feature=st.sampled_from(["inpainting", *QWEN]),
    postprocess=st.sampled_from(["POSTPROCESS_ON", "POSTPROCESS_OFF"]),
)
def test_with_the_mask_that_ben2_finds(
    picture: Picture, options: edit_pb2.MaskOptions, subject: str, feature: str, postprocess: str
) -> None:
    options.subject = edit_pb2.MaskSubject.Value(subject)
    request = edit_pb2.EditRequest(
        experiment_id="ben2_flux_fill" if feature == "inpainting" else "ben2_qwen_image",
        feature_id=feature,
        prompt="a gym",
        mask_options=options,
        background="BACKGROUND_UNSPECIFIED" if feature == "inpainting" else "BACKGROUND_KEEP",
        postprocess=postprocess,
    )
    outcome = edited(request, picture)
    assert_untouched(outcome, picture)
    assert outcome.state.mask_source == "segmentation"


@QUICK
@given(
    picture=PICTURES,
    margins=st.tuples(*[st.integers(0, 90)] * 4).filter(any),
    postprocess=st.sampled_from(["POSTPROCESS_ON", "POSTPROCESS_OFF"]),
)
def test_of_an_extended_picture(picture: Picture, margins: tuple[int, int, int, int], postprocess: str) -> None:
    left, right, top, bottom = margins
    request = edit_pb2.EditRequest(
        experiment_id="ben2_flux_fill",
        feature_id="outpainting",
        prompt="a gym",
        outpaint=edit_pb2.Outpaint(left=left, right=right, top=top, bottom=bottom),
        postprocess=postprocess,
    )
    state = edited(request, picture).state
    width, height = picture.size
    inside = slice(top, top + height), slice(left, left + width)
    assert state.rgb.shape[:2] == (height + top + bottom, width + left + right)
    assert state.mask_alpha is not None
    assert (state.mask_alpha[inside] == 0).all()
    assert np.array_equal(state.rgb[inside], picture.rgb)
    if picture.alpha is not None:
        assert state.alpha is not None
        assert np.array_equal(state.alpha[inside], picture.alpha)


@settings(max_examples=40, deadline=None)
@given(
    margins=st.builds(Margins, *(st.integers(0, 90) for _ in range(4))),
    width=st.integers(16, 40),
    height=st.integers(16, 40),
    feather_px=st.integers(0, 20),
)
def test_an_extended_picture_holds_the_original_where_the_weight_is_zero(
    margins: Margins, width: int, height: int, feather_px: int
) -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if not margins:
        return
    done = extended(ChainState(rgb, None), margins, feather_px)
    assert done.mask_alpha is not None
    inside = done.rgb[margins.top : margins.top + height, margins.left : margins.left + width]
    assert done.rgb.shape[:2] == (height + margins.top + margins.bottom, width + margins.left + margins.right)
    assert np.array_equal(inside, rgb)
    mask_alpha = done.mask_alpha.copy()
    mask_alpha[margins.top : margins.top + height, margins.left : margins.left + width] = 0
    assert np.array_equal(mask_alpha, done.mask_alpha), "the picture itself is kept"
    assert (done.mask_alpha == 255).any(), "the margins are painted"
    assert feather_px or (done.mask_alpha > 0).sum() == done.mask_alpha.size - width * height


@pytest.mark.parametrize("feature", QWEN)
def test_the_whole_picture_is_the_models_where_nothing_is_to_be_kept(feature: str) -> None:
    request = edit_pb2.EditRequest(
        experiment_id="ben2_qwen_image", feature_id=feature, prompt="a gym", background="BACKGROUND_WHOLE"
    )
    outcome = edited(request, noise_picture(60, 40, has_alpha=True))
    assert outcome.state.mask_alpha is not None
    assert (outcome.state.mask_alpha == 255).all()
    assert outcome.state.alpha is None
    assert "mask" not in outcome.seconds
