"""Read multipart/form-data bodies within limits, chunk by chunk."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from imgedit.errors import InvalidArgument, RequestTooLarge, Violation, quoted
from services.common.settings import MIB

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_NAME = 80
"""Characters of a part's name that are looked at; no parameter has so many, and messages repeat it."""

_PLAIN = (b"", b"7bit", b"8bit", b"binary")
"""The values of Content-Transfer-Encoding under which a part is what it is."""


@dataclass(frozen=True)
class Limits:
    """Limits of a body.

    max_bytes: size of the whole body. max_parts: number of parts. max_field_bytes: size of a part that is not a file.
    """

    max_bytes: int
    max_parts: int
    max_field_bytes: int


@dataclass(frozen=True)
class Form:
    """The parts of a body by their names, in the order in which they came."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[bytes]] = field(default_factory=dict)


async def read_form(content_type: str, body: AsyncIterator[bytes], limits: Limits) -> Form:
    """The parts of a body.

    Raises `InvalidArgument` or `RequestTooLarge` as soon as the body breaks a rule.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise InvalidArgument.field(
            "content-type",
            f"must be multipart/form-data, is {quoted(content_type)}; pictures are sent as files of a form",
            korean="본문을 multipart/form-data로 보내세요.",
        )
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise InvalidArgument.field("content-type", "must name the boundary between the parts, and does not")
    reader = _Reader(limits)
    try:
        parser = MultipartParser(boundary, reader.callbacks)
        async for chunk in body:
            reader.count(len(chunk))
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise InvalidArgument.field("body", f"is not valid multipart/form-data: {_plain(str(error))}") from None
    if not reader.is_whole:
        raise InvalidArgument.field("body", "ends before the last boundary; send it again")
    return reader.form


class _Reader:
    """Collects what the parser finds."""

    def __init__(self, limits: Limits) -> None:
        self.form = Form()
        self.is_whole = False
        self._limits = limits
        self._bytes = 0
        self._parts = 0
        self._headers: dict[bytes, bytes] = {}
        self._header = bytearray()
        self._value = bytearray()
        self._name = ""
        self._is_file = False
        self._data = bytearray()

    @property
    def callbacks(self) -> MultipartCallbacks:
        """The parser's callbacks."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def count(self, size: int) -> None:
        """So many bytes have come. Raises `RequestTooLarge`."""
        self._bytes += size
        if self._bytes > self._limits.max_bytes:
            raise too_large(self._limits)

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > self._limits.max_parts:
            raise InvalidArgument.field("body", f"must have at most {self._limits.max_parts} parts, has more")
        self._headers, self._data = {}, bytearray()

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if disposition != b"form-data" or b"name" not in options:
            raise InvalidArgument.field("body", f"part {self._parts} has no name; each part of a form has one")
        self._name = options[b"name"].decode("utf-8", "replace")[:MAX_NAME]
        self._is_file = b"filename" in options
        encoding = self._headers.get(b"content-transfer-encoding", b"").lower()
        if encoding not in _PLAIN:
            said = quoted(encoding.decode("latin-1"))
            raise InvalidArgument.field(self._name, f"must be sent as it is, and has the transfer encoding {said}")

    def _add(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]
        if not self._is_file and len(self._data) > self._limits.max_field_bytes:
            limit = self._limits.max_field_bytes
            raise InvalidArgument.field(self._name, f"must have at most {limit} bytes as a field; send files as files")

    def _end_part(self) -> None:
        if self._is_file:
            self.form.files.setdefault(self._name, []).append(bytes(self._data))
        else:
            self.form.fields.setdefault(self._name, []).append(_text(self._name, self._data))
        self._data = bytearray()

    def _end(self) -> None:
        self.is_whole = True


def too_large(limits: Limits) -> RequestTooLarge:
    """The error for a body of more bytes than are taken."""
    limit = f"{limits.max_bytes / MIB:g} MiB"
    description = f"must have at most {limit}, has more; send smaller pictures"
    return RequestTooLarge(
        f"body: {description}",
        korean=f"요청은 {limit}까지 보낼 수 있습니다. 이미지를 줄여 주세요.",
        violations=[Violation("body", description)],
    )


def _text(name: str, data: bytearray) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument.field(name, f"must be UTF-8, and is not at byte {error.start}") from None


def _plain(text: str) -> str:
    return re.sub(r"[^ -~]", "?", text)[:200]
