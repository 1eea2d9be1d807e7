"""The output options: `EditRequest.output`, checked, and its encoders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from imgedit.errors import InvalidArgument, RequestTooLarge, Violation
from imgedit.imaging.encoding import DEFAULT_JPEG_QUALITY, MAX_WEBP_SIDE, encode_jpeg, encode_png, encode_webp
from imgedit.imaging.images import Picture
from imgedit.imaging.metadata import Metadata
from imgedit.imaging.pixels import Pixels
from imgedit.remarks import Remark, Remarks
from imgedit.v1 import edit_pb2
from services.common import checks
from services.common.settings import MIB

Format = Literal["PNG", "JPEG", "WEBP"]

_FORMATS: dict[int, Format] = {
    edit_pb2.OUTPUT_FORMAT_UNSPECIFIED: "PNG",
    edit_pb2.OUTPUT_FORMAT_PNG: "PNG",
    edit_pb2.OUTPUT_FORMAT_JPEG: "JPEG",
    edit_pb2.OUTPUT_FORMAT_WEBP: "WEBP",
}
_OMITTABLE = (edit_pb2.OUTPUT_OMIT_CUTOUT, edit_pb2.OUTPUT_OMIT_MASK)


@dataclass(frozen=True)
class Output:
    """Contents of the response.

    `quality` None = lossless; cutout, mask: whether it contains them.
    """

    format: Format = "PNG"
    quality: int | None = None
    cutout: bool = True
    mask: bool = True

    @property
    def message(self) -> edit_pb2.OutputOptions:
        """The options for `effective`."""
        omit = [*([] if self.cutout else [_OMITTABLE[0]]), *([] if self.mask else [_OMITTABLE[1]])]
        return edit_pb2.OutputOptions(format=f"OUTPUT_FORMAT_{self.format}", quality=self.quality, omit=omit)

    def check_transparency(self) -> None:
        """Raise `InvalidArgument` if a transparent result has a format without alpha."""
        if self.format == "JPEG":
            raise InvalidArgument.field(
                "output.format",
                "the result is transparent around the subject, which JPEG cannot be; take PNG or WebP",
                korean="JPEG에는 투명도가 없습니다. 투명 배경에는 PNG나 WebP를 선택하세요.",
            )

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise `InvalidArgument` for a (width, height) beyond the format's limits."""
        if self.format == "WEBP" and max(size) > MAX_WEBP_SIDE:
            raise InvalidArgument.field(
                "output.format",
                f"the result has {size[0]}x{size[1]} px and WebP holds {MAX_WEBP_SIDE} px a side; take PNG or JPEG",
                korean=f"WebP는 한 변이 {MAX_WEBP_SIDE}px까지입니다. PNG나 JPEG를 선택하세요.",
            )


def resolve_output(request: edit_pb2.EditRequest) -> Output:
    """The checked output options.

    Raises `InvalidArgument` that names the field.
    """
    options = request.output
    if options.format not in _FORMATS:
        names = ", ".join(edit_pb2.OutputFormat.Name(number) for number in _FORMATS)
        raise InvalidArgument.field("output.format", f"must be one of {names}, is {options.format}")
    for index, what in enumerate(options.omit):
        if what not in _OMITTABLE:
            names = " or ".join(edit_pb2.OutputOmit.Name(number) for number in _OMITTABLE)
            raise InvalidArgument.field(f"output.omit[{index}]", f"must be {names}, is {what}")
    return Output(
        format=_FORMATS[options.format],
        quality=_quality(options),
        cutout=edit_pb2.OUTPUT_OMIT_CUTOUT not in options.omit,
        mask=edit_pb2.OUTPUT_OMIT_MASK not in options.omit,
    )


def _quality(options: edit_pb2.OutputOptions) -> int | None:
    is_jpeg = options.format == edit_pb2.OUTPUT_FORMAT_JPEG
    if not options.HasField("quality"):
        return DEFAULT_JPEG_QUALITY if is_jpeg else None
    if not is_jpeg and options.format != edit_pb2.OUTPUT_FORMAT_WEBP:
        raise InvalidArgument.field(
            "output.quality",
            "PNG is lossless and has no quality; leave it out, or take JPEG or WebP",
            korean="PNG는 무손실이라 품질 값이 없습니다. 값을 비우거나 JPEG, WebP를 선택하세요.",
        )
    checks.number("output.quality", options.quality, 1, 100)
    return options.quality


@dataclass(frozen=True)
class Files:
    """The encoded images of a response; empty = omitted."""

    output: bytes
    cutout: bytes
    mask: bytes

    def within(self, limit: int, share: int) -> tuple[Files, Remarks]:
        """The images that fit into `share` bytes, and a warning for each that does not.

        The result comes first, and may take all of `limit`. Raises `RequestTooLarge` if it exceeds that.
        """
        left = share - len(self.output)
        if len(self.output) > limit:
            description = f"the result has {_mib(self.output)} MiB and an answer {limit / MIB:.0f} MiB at most"
            raise RequestTooLarge(
                f"output: {description}; take JPEG, WebP with a quality, or a smaller picture",
                korean=f"결과가 {_mib(self.output)} MiB로 너무 큽니다({limit / MIB:.0f} MiB까지). "
                "JPEG나 WebP를 선택하거나 더 작은 이미지를 쓰세요.",
                violations=[Violation("output", description)],
            )
        kept: dict[str, bytes] = {}
        warnings = []
        for field, name, korean, data in (
            ("mask_image", "mask", "마스크", self.mask),
            ("background_removed_image", "cutout", "배경을 제거한 이미지", self.cutout),
        ):
            if len(data) <= left:
                kept[name], left = data, left - len(data)
            else:
                kept[name] = b""
                size, most = f"{_mib(data)} MiB", f"{share / MIB:.0f} MiB"
                warnings.append(
                    Remark(
                        f"{field}: left out, since its {size} would take the answer over {most}; take JPEG or WebP "
                        "with a quality for the result, or a smaller picture",
                        f"응답이 {most}를 넘지 않도록 {korean}({size})를 뺐습니다. "
                        "결과 형식을 JPEG나 WebP로 바꾸거나 더 작은 이미지를 쓰세요.",
                    )
                )
        return replace(self, **kept), tuple(warnings)


def _mib(data: bytes) -> str:
    return f"{len(data) / MIB:.1f}"


class SharedFiles:
    """The mask and the cut-out of a request, encoded once for all its results.

    Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._cutout: asyncio.Future[bytes] | None = None
        self._masks: list[tuple[Pixels, asyncio.Future[bytes]]] = []

    async def cutout(self, make: Callable[[], Picture | None]) -> bytes:
        """The file of the cut-out that `make` gives; empty for none."""
        if self._cutout is None:
            self._cutout = asyncio.ensure_future(asyncio.to_thread(_encode_cutout, make))
        return await asyncio.shield(self._cutout)

    async def mask(self, alpha: Pixels) -> bytes:
        """The file of a mask alpha. The same array is encoded once."""
        for known, encoded in self._masks:
            if known is alpha:
                return await asyncio.shield(encoded)
        encoding = asyncio.ensure_future(asyncio.to_thread(encode_png, alpha))
        self._masks.append((alpha, encoding))
        return await asyncio.shield(encoding)


async def encode_files(
    output: Output,
    result: Picture,
    metadata: Metadata,
    *,
    cutout: Callable[[], Picture | None],
    mask_alpha: Pixels,
    shared: SharedFiles,
) -> Files:
    """Encode every image of the response in parallel.

    The metadata goes into the result.
    """
    files = await asyncio.gather(
        asyncio.to_thread(_encode_result, output, result, metadata),
        shared.cutout(cutout) if output.cutout else _nothing(),
        shared.mask(mask_alpha) if output.mask else _nothing(),
    )
    return Files(*files)


async def _nothing() -> bytes:
    return b""


def _encode_cutout(make: Callable[[], Picture | None]) -> bytes:
    cutout = make()
    return encode_png(cutout.rgb, cutout.alpha) if cutout else b""


def _encode_result(output: Output, result: Picture, metadata: Metadata) -> bytes:
    match output.format:
        case "PNG":
            return encode_png(result.rgb, result.alpha, metadata)
        case "JPEG":
            return encode_jpeg(result, output.quality or DEFAULT_JPEG_QUALITY, metadata)
        case "WEBP":
            return encode_webp(result, output.quality, metadata)
