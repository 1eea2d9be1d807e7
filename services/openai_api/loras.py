"""The LoRAs of a form.

`loras[]`, each NAME or NAME:SCALE, or pairs of `loras[][name]` and `loras[][scale]`. SDKs write a list of texts or of
objects in `extra_body` so. A LoRA's name has no colon.
"""

from __future__ import annotations

from collections.abc import Callable

from imgedit.errors import InvalidArgument, quoted
from services.openai_api.multipart import Form

TEXTS = ("loras", "loras[]")
NAMES, SCALES = "loras[][name]", "loras[][scale]"
PARTS = (*TEXTS, NAMES, SCALES)

Lora = tuple[str, float | None]
"""A name and a scale; None = the server's default."""


def read_loras(form: Form, number: Callable[[str, str], float]) -> tuple[Lora, ...]:
    """The LoRAs in the order of the form.

    number: reads a scale from (name, text). Raises `InvalidArgument`.
    """
    texts = [text for name in TEXTS for text in form.fields.get(name, [])]
    names, scales = form.fields.get(NAMES, []), form.fields.get(SCALES, [])
    if texts and (names or scales):
        raise InvalidArgument.field("loras", "must be texts or pairs of name and scale, are both")
    if scales and len(scales) != len(names):
        raise InvalidArgument.field(
            "loras",
            f"must have a scale for each name or for none, has {len(names)} names and {len(scales)} scales: a form "
            "does not say whose a scale is",
        )
    if scales:
        return tuple((name, number(SCALES, scale)) for name, scale in zip(names, scales, strict=True))
    return (*((name, None) for name in names), *(_lora(text, number) for text in texts))


def _lora(text: str, number: Callable[[str, str], float]) -> Lora:
    name, colon, scale = text.partition(":")
    if not name or (colon and not scale):
        raise InvalidArgument.field("loras", f"must be NAME or NAME:SCALE, for instance ink:0.8; is {quoted(text)}")
    return name, number("loras", scale) if colon else None
