"""The Python options of the fields of an edit.

`mask_image` is the option `mask`, `PROFILE_FAST` is "fast".
"""

from __future__ import annotations

import re

OPTIONS = {
    "experiment_id": "experiment",
    "feature_id": "feature",
    "input_image": "image",
    "mask_image": "mask",
    "reference_images": "references",
}
"""The option of `EditClient.edit` for each field of EditRequest that has another name. Others have the field's name."""

_FIELD = re.compile(rf"\b({'|'.join(OPTIONS)})\b")
_CHOICE = re.compile(r"\b(?:PROFILE|BACKGROUND|MASK_SUBJECT|OUTPUT_FORMAT|OUTPUT_OMIT)_([A-Z]+)\b")
_POSTPROCESS = re.compile(r"\bPOSTPROCESS_(ON|OFF)\b")


def option_of(field: str) -> str:
    """The option that sets a field of a request.

    field: its path; `reference_images[1]` is `references[1]`.
    """
    return _FIELD.sub(lambda found: OPTIONS[found[1]], field, count=1)


def in_options(text: str) -> str:
    """A server's text in the options and choices of Python.

    They take the place of fields and enum values.
    """
    named = _FIELD.sub(lambda found: OPTIONS[found[1]], text)
    chosen = _CHOICE.sub(lambda found: repr(found[1].lower()), named)
    return _POSTPROCESS.sub(lambda found: str(found[1] == "ON"), chosen)
