"""The metadata that an image file carries beside its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Metadata:
    """A file's metadata.

    xmp: an XMP packet, UTF-8. exif: a TIFF block without the "Exif" prefix. text: keyword → UTF-8 text, for PNG.
    """

    xmp: bytes
    exif: bytes
    text: dict[str, str] = field(default_factory=dict)
