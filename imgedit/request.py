"""The options of an edit as Python keywords, and their EditRequest.

The server checks the values.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Required, TypedDict, Unpack

from imgedit.keywords import refusing_unknown
from imgedit.v1 import edit_pb2

ImageSource = bytes | str | Path
"""A picture: its bytes, or the path of a file."""

Profile = Literal["fast", "balanced", "high"]

Background = Literal["whole", "keep", "remove", "transparent"]


class EditOptions(TypedDict, total=False):
    """The options of an edit.

    Missing or None = the feature's default.
    """

    experiment: Required[str]
    """Id of the experiment; `EditClient.experiments` lists them with their features, ranges and defaults."""
    feature: str | None
    """Id of the feature. Unset = the experiment's first one."""
    prompt: str | None
    """What to do, 1 to 2,000 characters. Optional for an experiment that paints nothing."""
    expand_prompt: bool
    """Have a language model write the prompt out first."""
    negative_prompt: str | None
    """What to avoid; "" is an empty one and counts."""
    negative_scale: float | None
    """Weight of the negative prompt, for FLUX."""
    steps: int | None
    guidance_scale: float | None
    strength: float | None
    """How far the result may go from the picture, 0.0 to 1.0."""
    seed: int | None
    """The same seed gives the same picture. Unset = drawn, and returned in the answer."""
    profile: Profile | None
    """Speed against quality; sets steps, guidance and strength where they are unset. Unset = balanced."""
    mask: ImageSource | None
    """What to repaint: white, at the picture's size. Unset = BEN2's mask."""
    mask_options: edit_pb2.MaskOptions | None
    """How the mask is worked on: subject, invert, threshold, fill_holes, grow_px, feather_px."""
    background: Background | None
    """Treatment of the area around the subject, for Qwen."""
    outpaint: edit_pb2.Outpaint | None
    """Margins in px (left, right, top, bottom), or an aspect such as "16:9"."""
    references: Sequence[ImageSource]
    """Up to 2 further pictures: "Picture 2" and "Picture 3" in the prompt."""
    postprocess: bool
    """Match the painted region's tone to its surroundings. On unless switched off."""
    output: edit_pb2.OutputOptions | None
    """File format and quality of the result, and pictures to leave out of the answer."""
    preview_every: int | None
    """A preview after every so many steps."""
    request_id: str | None
    """An id of one's own, 1 to 64 letters, digits, ".", "_" or "-". Unset = made up here."""


EDIT_OPTIONS = tuple(EditOptions.__annotations__)
"""The names of all options."""


@refusing_unknown(*EDIT_OPTIONS)
def edit_request(image: ImageSource, **options: Unpack[EditOptions]) -> edit_pb2.EditRequest:
    """The EditRequest of one edit, with a request id.

    Raises OSError for an unreadable file, TypeError for an unknown option or a missing `experiment`.
    """
    if "experiment" not in options:
        raise TypeError("an edit needs the option 'experiment'; EditClient.experiments lists them")
    mask = options.get("mask")
    profile, background = options.get("profile"), options.get("background")
    return edit_pb2.EditRequest(
        experiment_id=options["experiment"],
        feature_id=options.get("feature"),
        input_image=_read(image),
        prompt=options.get("prompt") or "",
        expand_prompt=options.get("expand_prompt", False),
        negative_prompt=options.get("negative_prompt"),
        negative_scale=options.get("negative_scale"),
        steps=options.get("steps"),
        guidance_scale=options.get("guidance_scale"),
        strength=options.get("strength"),
        seed=options.get("seed"),
        profile=f"PROFILE_{profile.upper()}" if profile is not None else None,
        mask_image=_read(mask) if mask is not None else b"",
        mask_options=options.get("mask_options"),
        background=f"BACKGROUND_{background.upper()}" if background is not None else None,
        outpaint=options.get("outpaint"),
        reference_images=[_read(reference) for reference in options.get("references", ())],
        postprocess=None if options.get("postprocess", True) else "POSTPROCESS_OFF",
        output=options.get("output"),
        preview_every=options.get("preview_every"),
        request_id=options.get("request_id") or uuid.uuid4().hex,
    )


def _read(source: ImageSource) -> bytes:
    return source if isinstance(source, bytes) else Path(source).read_bytes()
