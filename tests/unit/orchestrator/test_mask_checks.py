"""The warning for a mask that repaints almost everything or nothing."""

from __future__ import annotations

import numpy as np
import pytest

from imgedit.imaging.pixels import Pixels
from services.orchestrator.imaging import mask_checks


def weight_of(share: float) -> Pixels:
    mask_alpha = np.zeros(10_000, np.uint8)
    mask_alpha[: round(share * 10_000)] = 1
    return mask_alpha.reshape(100, 100)


@pytest.mark.parametrize("share", [0.9512, 1.0, 0.0001])
def test_a_callers_mask_of_almost_all_or_almost_nothing_is_remarked_on(share: float) -> None:
    (warning,) = mask_checks.remarks_on_request(weight_of(share))
    assert warning.english.startswith(f"mask_image: {share:.2%} of the picture is repainted")
    assert f"{share:.2%}" in warning.korean


@pytest.mark.parametrize("share", [0.01, 0.5, 0.89])
def test_other_masks_are_not(share: float) -> None:
    assert mask_checks.remarks_on_request(weight_of(share)) == ()


def test_a_small_subject_is_usual() -> None:
    assert mask_checks.remarks_on_subject(weight_of(0.95)) == ()
    assert mask_checks.remarks_on_subject(weight_of(0.999))
