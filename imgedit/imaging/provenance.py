"""The record of an edit inside its result.

Parameters, and that a model painted it.

`imgedit.imaging.encoding` writes it as an XMP packet (PNG, JPEG, WebP), as EXIF (JPEG, WebP) and as a text chunk (PNG);
it is read from the packet, which is uncompressed in all three. Contains no time, duration or id, so the same edit gives
the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from PIL import ExifTags, Image

from imgedit.imaging.metadata import Metadata
from imgedit.v1 import edit_pb2

TRAINED_ALGORITHMIC_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""The IPTC's term for media that a trained model made."""

PNG_KEYWORD = "imgedit"

MAX_SEGMENT_BYTES = 65_000
"""A JPEG segment holds 65,533 bytes. A packet over this leaves the prompts out, EXIF then leaves out the parameters."""

_SCHEMA = 1
_NAMESPACE = "urn:imgedit:ns:1.0:"
_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_PROMPTS = ("prompt", "negative_prompt", "requested_prompt", "requested_negative_prompt", "direction_words")
_NOT_KEPT = (
    "input_image",
    "mask_image",
    "reference_images",
    "prompt",
    "negative_prompt",
    "request_id",
    "preview_every",
    "n",
    "webhook_url",
)
_PACKET_START, _PACKET_END = re.compile(rb"<x:xmpmeta[ >]"), b"</x:xmpmeta>"
_NOT_PLAIN = re.compile("[<\x7f-\x9f\ufffe\uffff]")
"""Characters forbidden in XML, and "<": in EXIF and PNG a prompt could otherwise pose as a packet."""

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="{extension}" \
xmlns:imgedit="{namespace}">
   <xmp:CreatorTool>{generator}</xmp:CreatorTool>{source}
   <imgedit:Parameters>{parameters}</imgedit:Parameters>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
_SOURCE = "\n   <Iptc4xmpExt:DigitalSourceType>{uri}</Iptc4xmpExt:DigitalSourceType>"


@dataclass(frozen=True)
class Record:
    """The record of an edit.

    request: the requested fields of EditRequest, without images, prompts and ids. effective: every parameter as used.
    inputs: field → SHA-256 of the input file, or a list of them. Plain JSON values.
    """

    generator: str
    experiment_id: str
    request: dict[str, Any]
    effective: dict[str, Any]
    inputs: dict[str, Any]
    schema: int = _SCHEMA

    @property
    def is_painted(self) -> bool:
        """Whether a model painted any of it; at strength 0 none did."""
        return int(self.effective.get("steps_run", 0)) > 0

    @property
    def has_prompts(self) -> bool:
        """Whether the prompts are in it."""
        return "prompt" in self.effective

    def without_prompts(self) -> Record:
        """The record without the caller's words."""
        kept = {name: value for name, value in self.effective.items() if name not in _PROMPTS}
        return replace(self, effective=kept)

    def json(self, *, ascii_only: bool = False) -> str:
        """One line of JSON with sorted keys, safe inside XML."""
        text = json.dumps(asdict(self), ensure_ascii=ascii_only, sort_keys=True, separators=(",", ":"))
        return _NOT_PLAIN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def record_of(
    request: edit_pb2.EditRequest, effective: edit_pb2.EffectiveParameters, *, generator: str, with_prompts: bool
) -> Record:
    """The record of an edit, from its request and its parameters as used."""
    asked = {name: value for name, value in _as_dict(_without_pictures(request)).items() if name not in _NOT_KEPT}
    asked |= {"feature_id": effective.feature_id, "seed": effective.seed}
    inputs: dict[str, Any] = {"input_image": _sha256(request.input_image)}
    if request.mask_image:
        inputs["mask_image"] = _sha256(request.mask_image)
    if request.reference_images:
        inputs["reference_images"] = [_sha256(data) for data in request.reference_images]
    record = Record(generator, asked.pop("experiment_id"), asked, _as_dict(effective), inputs)
    return record if with_prompts else record.without_prompts()


def metadata_of(record: Record) -> Metadata:
    """The record in each file format's metadata."""
    packet = _packet(record)
    if len(packet) > MAX_SEGMENT_BYTES:
        record = record.without_prompts()
        packet = _packet(record)
    return Metadata(xmp=packet, exif=_exif(record), text={PNG_KEYWORD: record.json()})


def read_record(data: bytes) -> Record | None:
    """The record in a PNG, JPEG or WebP file; None if it is missing or unreadable."""
    for packet in _packets(data):
        text = _element(packet, f"{{{_NAMESPACE}}}Parameters")
        if text is not None:
            return _parsed(text)
    return None


def source_type(data: bytes) -> str | None:
    """The DigitalSourceType in a file's XMP, from any author."""
    found = (_element(packet, f"{{{_EXTENSION}}}DigitalSourceType") for packet in _packets(data))
    return next((text for text in found if text), None)


def request_of(
    record: Record, image: bytes, *, mask: bytes = b"", references: Sequence[bytes] = (), prompt: str | None = None
) -> edit_pb2.EditRequest:
    """The request that repeats the edit.

    Raises ValueError, which names the missing part, if an image differs from the original input or no prompt is known.
    """
    _check_inputs(record, {"input_image": image, "mask_image": mask}, references)
    used = record.effective
    prompt = prompt if prompt is not None else used.get("requested_prompt", used.get("prompt"))
    if prompt is None:
        raise ValueError("the prompt was left out of the file; say what it was with --prompt")
    try:
        request = ParseDict(record.request, edit_pb2.EditRequest(), ignore_unknown_fields=True)
        request.experiment_id, request.prompt = record.experiment_id, prompt
        negative = used.get("requested_negative_prompt", used.get("negative_prompt"))
        if negative is not None:
            request.negative_prompt = negative
    except (ParseError, TypeError):
        raise ValueError("the record in the file is not one of an edit") from None
    request.input_image, request.mask_image = image, mask
    request.reference_images.extend(references)
    return request


def _check_inputs(record: Record, pictures: dict[str, bytes], references: Sequence[bytes]) -> None:
    for name, data in pictures.items():
        known = record.inputs.get(name)
        if known and not data:
            raise ValueError(f"the edit had a {name}, which is needed again")
        if data and _sha256(data) != known:
            raise ValueError(f"{name}: not the file that was edited (its SHA-256 differs)")
    if [_sha256(data) for data in references] != record.inputs.get("reference_images", []):
        raise ValueError("reference_images: not the files of the edit, in their order (their SHA-256 differ)")


def _without_pictures(request: edit_pb2.EditRequest) -> edit_pb2.EditRequest:
    """A copy, field by field, to avoid copying megabytes of images."""
    copy = edit_pb2.EditRequest()
    for descriptor, value in request.ListFields():
        if descriptor.name in _NOT_KEPT:
            continue
        if descriptor.is_repeated:
            getattr(copy, descriptor.name).extend(value)
        elif descriptor.message_type is not None:
            getattr(copy, descriptor.name).CopyFrom(value)
        else:
            setattr(copy, descriptor.name, value)
    return copy


def _as_dict(message: edit_pb2.EditRequest | edit_pb2.EffectiveParameters) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _packet(record: Record) -> bytes:
    source = _SOURCE.format(uri=TRAINED_ALGORITHMIC_MEDIA) if record.is_painted else ""
    return _XMP.format(
        extension=_EXTENSION,
        namespace=_NAMESPACE,
        generator=escape(record.generator),
        source=source,
        parameters=escape(record.json()),
    ).encode()


def _exif(record: Record) -> bytes:
    """EXIF Software, and the parameters as UserComment if they fit."""
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = record.generator
    comment = b"ASCII\0\0\0" + record.json(ascii_only=True).encode("ascii")
    if len(comment) <= MAX_SEGMENT_BYTES - 200:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return exif.tobytes()


def _packets(data: bytes) -> Iterator[bytes]:
    """The XMP packets of a file, in linear time."""
    end = 0
    while (start := _PACKET_START.search(data, end)) and (place := data.find(_PACKET_END, start.end())) >= 0:
        end = place + len(_PACKET_END)
        yield data[start.start() : end]


def _element(packet: bytes, name: str) -> str | None:
    """The text of the first such element of an untrusted packet."""
    if b"<!DOCTYPE" in packet:  # no entity expansion
        return None
    try:
        found = ElementTree.fromstring(packet).find(f".//{name}")  # noqa: S314  # no document type, see above
    except ElementTree.ParseError:
        return None
    return None if found is None else found.text


def _parsed(text: str) -> Record | None:
    try:
        record = Record(**json.loads(text))
    except (TypeError, ValueError, RecursionError):
        return None
    dicts, texts = (record.request, record.effective, record.inputs), (record.generator, record.experiment_id)
    is_sound = all(isinstance(part, dict) for part in dicts) and all(isinstance(part, str) for part in texts)
    return record if is_sound and record.schema == _SCHEMA else None
