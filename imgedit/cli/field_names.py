"""Translate fields and choices of an edit into command-line options.

`outpaint.left` becomes `--left`, `PROFILE_FAST` becomes `fast`.
"""

from __future__ import annotations

import re

OPTIONS = {
    "experiment_id": "--experiment",
    "feature_id": "--feature",
    "input_image": "IMAGE",
    "prompt": "--prompt",
    "expand_prompt": "--expand-prompt",
    "negative_prompt": "--negative-prompt",
    "negative_scale": "--negative-scale",
    "steps": "--steps",
    "guidance_scale": "--guidance-scale",
    "strength": "--strength",
    "seed": "--seed",
    "n": "--n",
    "profile": "--profile",
    "loras.name": "--lora",
    "loras.scale": "--lora",
    "background": "--background",
    "postprocess": "--postprocess",
    "reference_images": "--reference",
    "mask_image": "--mask",
    "mask_options.subject": "--mask-subject",
    "mask_options.invert": "--mask-invert",
    "mask_options.threshold": "--mask-threshold",
    "mask_options.fill_holes": "--mask-fill-holes",
    "mask_options.grow_px": "--mask-grow",
    "mask_options.feather_px": "--mask-feather",
    "outpaint.left": "--left",
    "outpaint.right": "--right",
    "outpaint.top": "--top",
    "outpaint.bottom": "--bottom",
    "outpaint.aspect": "--aspect",
    "webhook_url": "--webhook-url",
    "output.format": "--output",
    "output.quality": "--quality",
}
"""The option of `imgedit edit` for each field of EditRequest that has one."""

GROUPS = {
    "mask_options": tuple(option for field, option in OPTIONS.items() if field.startswith("mask_options.")),
    "outpaint": tuple(option for field, option in OPTIONS.items() if field.startswith("outpaint.")),
    "output": ("--output", "--quality"),
    "loras": ("--lora",),
}
"""The options that fill a message of EditRequest together."""

_INDEX = re.compile(r"\[\d+\]")
_TOLD_APART = sorted((re.escape(field) for field in OPTIONS if re.search("[._]", field)), reverse=True)
"""Fields whose names are not English words."""

_FIELD = re.compile(rf"\b({'|'.join(_TOLD_APART)})\b")
_CHOICE = re.compile(r"\b(?:PROFILE|BACKGROUND|MASK_SUBJECT|POSTPROCESS|OUTPUT_FORMAT)_([A-Z]+)\b")


def option_of(field: str) -> str:
    """The option that sets a field of a request; the field itself if none does."""
    bare = _INDEX.sub("", field)
    if bare in GROUPS:
        return ", ".join(GROUPS[bare])
    return OPTIONS.get(bare, field)


def in_options(text: str) -> str:
    """A server's text with the command line's options and choices."""
    return _CHOICE.sub(lambda found: choice(found[0]), _FIELD.sub(lambda found: OPTIONS[found[1]], text))


def choice(value: str) -> str:
    """The command-line name of an enum value."""
    return _CHOICE.sub(lambda found: found[1].lower(), value)
