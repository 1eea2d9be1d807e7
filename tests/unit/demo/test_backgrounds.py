"""The area around the subject in Qwen's features: WHOLE, KEEP and the others."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from imgedit.errors import NoSubjectFound
from imgedit.imaging.images import Picture, Pixels
from imgedit.v1 import edit_pb2
from services.orchestrator.chain.run import Outcome
from services.orchestrator.chain.stages import SEGMENT_SIDE
from tests.support.chain import Noise, edited, noise_picture

FEATURES = ("appearance_editing", "semantic_editing", "text_editing", "multi_image_editing")
PICTURE = noise_picture(60, 44)
every_feature = pytest.mark.parametrize("feature", FEATURES)


def edit(
    background: str,
    feature: str = "semantic_editing",
    picture: Picture = PICTURE,
    mask: Pixels | None = None,
    backends: Noise | None = None,
    options: edit_pb2.MaskOptions | None = None,
    **fields: object,
) -> Outcome:
    request = edit_pb2.EditRequest(
        experiment_id="ben2_qwen_image",
        feature_id=feature,
        prompt="a gym",
        background=f"BACKGROUND_{background}",
        mask_options=options,
        mask_image=b"x" if mask is not None else b"",
        **fields,  # type: ignore[arg-type]
    )
    return edited(request, picture, mask, backends=backends)


def box() -> Pixels:
    mask = np.zeros((44, 60), np.uint8)
    mask[10:30, 20:50] = 255
    return mask


@every_feature
def test_keep_restores_all_outside_the_grown_subject(feature: str) -> None:
    models = Noise()
    state = edit("KEEP", feature, backends=models, options=edit_pb2.MaskOptions(grow_px=2)).state
    assert state.mask_alpha is not None
    assert 0 < (state.mask_alpha == 0).mean() < 1
    assert np.array_equal(state.rgb[state.mask_alpha == 0], PICTURE.rgb[state.mask_alpha == 0])
    [(_, sent)] = models.painted
    assert sent is not None, "the model learns what is kept"
    assert (sent[:44, :60] == np.where(state.mask_alpha > 0, 255, 0)).all()


@every_feature
def test_keep_restores_all_outside_a_callers_mask(feature: str) -> None:
    state = edit("KEEP", feature, mask=box()).state
    assert np.array_equal(state.mask_alpha, box())
    assert np.array_equal(state.rgb[box() == 0], PICTURE.rgb[box() == 0])
    assert not np.array_equal(state.rgb[box() == 255], PICTURE.rgb[box() == 255])


@every_feature
@pytest.mark.parametrize("background", ["REMOVE", "TRANSPARENT"])
def test_the_model_is_given_the_cut_out_on_white_in_its_own_colours(feature: str, background: str) -> None:
    models = Noise()
    state = edit(background, feature, backends=models).state
    [(given, mask)] = models.painted
    assert mask is None
    corner = given[:6, :6]
    assert (corner == 255).all()
    middle = slice(20, 24), slice(28, 32)
    assert np.array_equal(given[middle], PICTURE.rgb[middle])
    assert state.mask_alpha is not None
    assert (state.mask_alpha == 255).all()
    assert state.mask_options is not None
    assert state.mask_options.grow_px == 0


def test_the_background_can_be_cut_out_instead_in_the_colours_of_the_picture() -> None:
    models = Noise()
    edit("REMOVE", backends=models, options=edit_pb2.MaskOptions(subject="MASK_SUBJECT_BACKGROUND"))
    [(given, _)] = models.painted
    assert (given[20:24, 28:32] == 255).all()
    assert np.array_equal(given[:6, :6], PICTURE.rgb[:6, :6])


@pytest.mark.parametrize("background", ["REMOVE", "TRANSPARENT"])
def test_at_strength_0_the_cut_out_itself_comes_back(background: str) -> None:
    models = Noise()
    state = edit(background, backends=models, strength=0.0).state
    assert models.painted == []
    assert (state.rgb[:6, :6] == 255).all()
    assert (state.alpha is not None) == (background == "TRANSPARENT")


def test_remove_returns_what_the_model_made_of_it_opaque() -> None:
    models = Noise()
    state = edit("REMOVE", picture=noise_picture(60, 44, has_alpha=True), backends=models).state
    assert state.alpha is None
    assert len(models.segmented) == 1


@every_feature
def test_transparent_cuts_the_result_out_again(feature: str) -> None:
    models = Noise()
    outcome = edit("TRANSPARENT", feature, backends=models)
    state = outcome.state
    assert state.alpha is not None
    assert state.alpha.min() == 0
    assert state.alpha.max() == 255
    of_the_picture, of_the_result = models.segmented
    assert np.array_equal(of_the_picture, PICTURE.rgb)
    assert state.painted is not None
    assert np.array_equal(of_the_result, state.painted)
    opaque = state.alpha == 255
    assert np.array_equal(state.rgb[opaque], state.painted[opaque])
    assert [model.model_id for model in state.models] == ["BEN2", "FLUX"]


@pytest.mark.parametrize("background", ["REMOVE", "TRANSPARENT"])
def test_a_callers_mask_says_what_is_cut_out(background: str) -> None:
    models = Noise()
    edit(background, mask=box(), backends=models)
    [(given, _)] = models.painted
    assert (given[:44, :60][box() == 0] == 255).all()
    assert np.array_equal(given[:44, :60][box() == 255], PICTURE.rgb[box() == 255])


@pytest.mark.parametrize("background", ["KEEP", "REMOVE", "TRANSPARENT"])
def test_without_a_subject_what_needs_one_is_refused(background: str) -> None:
    with pytest.raises(NoSubjectFound, match=r"mask_options\.threshold"):
        edit(background, backends=Noise(finds_subject=False))


def test_without_a_subject_the_whole_picture_is_edited_all_the_same() -> None:
    state = edit("WHOLE", backends=Noise(finds_subject=False)).state
    assert state.mask_alpha is not None
    assert (state.mask_alpha == 255).all()


@pytest.mark.parametrize("background", ["KEEP", "REMOVE"])
def test_without_a_subject_a_callers_mask_is_enough(background: str) -> None:
    assert edit(background, mask=box(), backends=Noise(finds_subject=False)).state.painted is not None


def test_ben2_does_not_run_where_nobody_needs_it() -> None:
    models = Noise()
    no_cutout = edit_pb2.OutputOptions(omit=["OUTPUT_OMIT_CUTOUT"])
    edit("WHOLE", backends=models, output=no_cutout)
    edit("KEEP", mask=box(), backends=models, output=no_cutout)
    assert models.segmented == []
    edit("KEEP", backends=models, output=no_cutout)
    assert len(models.segmented) == 1


def test_a_large_transparent_result_keeps_its_size() -> None:
    models = Noise()
    picture = Picture(np.asarray(Image.new("RGB", (SEGMENT_SIDE + 300, SEGMENT_SIDE), (90, 120, 40))))
    state = edit("TRANSPARENT", picture=picture, backends=models).state
    assert state.alpha is not None
    assert state.alpha.shape == picture.rgb.shape[:2]
    assert {seen.shape for seen in models.segmented} == {(SEGMENT_SIDE, SEGMENT_SIDE, 3)}
