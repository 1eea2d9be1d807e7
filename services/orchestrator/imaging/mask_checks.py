"""Turn a mask into an alpha, and reject empty masks with an explanation."""

from __future__ import annotations

import numpy as np

from imgedit.errors import InvalidArgument, NoSubjectFound
from imgedit.imaging.pixels import Pixels
from imgedit.remarks import Remark, Remarks
from services.orchestrator.imaging import masks
from services.orchestrator.imaging.masks import MaskOptions

LITTLE = 0.0005
"""Part of a picture: of 12 megapixels 6,000 pixels."""

MUCH_OF_REQUEST, MUCH_OF_SUBJECT = 0.9, 0.99
"""A caller's mask that repaints so much is often meant the other way round; around a small subject it is usual."""


def remarks_on_request(mask_alpha: Pixels) -> Remarks:
    """The warning for a mask that repaints almost everything or nothing."""
    return _remarks(
        mask_alpha,
        MUCH_OF_REQUEST,
        "mask_image",
        Remark(
            "white, or where it has alpha transparent, is repainted",
            "마스크의 흰색(알파가 있으면 투명한 부분)이 다시 그려집니다.",
        ),
    )


def remarks_on_subject(mask_alpha: Pixels) -> Remarks:
    """The same warning for BEN2's mask."""
    advice = Remark("look at mask_image of the answer", "응답의 마스크를 확인하세요.")
    return _remarks(mask_alpha, MUCH_OF_SUBJECT, "mask", advice)


def _remarks(mask_alpha: Pixels, much: float, field: str, advice: Remark) -> Remarks:
    share = np.count_nonzero(mask_alpha) / mask_alpha.size
    if LITTLE < share < much:
        return ()
    return (
        Remark(
            f"{field}: {share:.2%} of the picture is repainted; if that is not meant, {advice.english}",
            f"이미지의 {share:.2%}를 다시 그렸습니다. 의도와 다르면 확인하세요: {advice.korean}",
        ),
    )


def mask_of_request(mask: Pixels, options: MaskOptions) -> Pixels:
    """The alpha of a caller's mask.

    Raises `InvalidArgument` if nothing is left to repaint.
    """
    mask_alpha = masks.shaped(masks.levelled(mask, options), options)
    if not mask_alpha.any():
        worked_on = (
            "black everywhere" if not mask.any() else "black everywhere once it is worked on as `mask_options` says"
        )
        raise InvalidArgument.field(
            "mask_image",
            f"the mask is {worked_on}, so there is nothing to repaint; paint the region white",
            korean="마스크가 전부 검은색이라 다시 그릴 영역이 없습니다. 바꿀 영역을 흰색으로 칠하세요.",
        )
    return mask_alpha


def mask_of_subject(alpha: Pixels, options: MaskOptions) -> Pixels:
    """The alpha of the chosen part of BEN2's mask.

    Raises `NoSubjectFound` for an empty or a full mask.
    """
    mask_alpha = masks.levelled(alpha, options)
    subject = 255 - mask_alpha if options.keeps_subject else mask_alpha
    if subject.max() < 128:
        raise _no_subject("no subject", "피사체를 찾지 못해")
    if not mask_alpha.any():
        raise _no_subject("nothing but subject", "피사체만 찾아 배경이 없어")
    return masks.shaped(mask_alpha, options)


def _no_subject(found: str, found_korean: str) -> NoSubjectFound:
    return NoSubjectFound(
        f"mask_image: BEN2 finds {found} in the picture, so there is no mask to work with; use a clearer or larger "
        "picture, another mask_options.threshold, or your own mask_image (white = repaint)",
        korean=f"BEN2가 이미지에서 {found_korean} 마스크를 만들 수 없습니다. 더 선명하거나 큰 이미지를 쓰거나, "
        "mask_options.threshold를 바꾸거나, 마스크(mask_image, 흰색 = 다시 그릴 영역)를 직접 지정하세요.",
    )
