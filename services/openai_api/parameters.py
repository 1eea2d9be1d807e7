"""The parameters of POST /v1/images/edits: OpenAI's and our own.

Each is parsed from its text or rejected by name. The orchestrator checks ranges and names the field at fault.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from imgedit.errors import InvalidArgument, quoted
from services.openai_api import loras
from services.openai_api.multipart import Form

OutputFormat = Literal["png", "jpeg", "webp"]
ResponseFormat = Literal["b64_json", "url"]

MAX_RESULTS = 4
MAX_PARTIAL_IMAGES = 3
MAX_SEED = 2**32 - 1
MAX_USER_CHARACTERS = 256

MAX_IMAGES = 16
"""OpenAI's limit; a feature may have a lower one."""


@dataclass(frozen=True)
class ImageEdit:
    """A caller's request; None = not set.

    mask: OpenAI's, transparent = repaint; own_mask: ours, white = repaint. size: (width, height). background: theirs or
    ours. own: our parameters by the names of the API, those of a message as "outpaint.left"; LoRAs are names and
    scales.
    """

    images: tuple[bytes, ...]
    prompt: str
    model: str | None
    mask: bytes | None
    own_mask: bytes | None
    n: int
    size: tuple[int, int] | None
    response_format: ResponseFormat
    output_format: OutputFormat
    output_compression: int | None
    background: str | None
    stream: bool
    partial_images: int
    user: str | None
    own: Mapping[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A parameter and its documentation.

    read: parses the value from (name, text); raises `InvalidArgument`.
    """

    help: str
    kind: Literal["string", "integer", "number", "boolean"]
    read: Callable[[str, str], Any]
    choices: tuple[str, ...] = ()
    range: tuple[int, int] | None = None


def read_parameters(form: Form, *, has_urls: bool) -> ImageEdit:
    """Parse a form into a request. `has_urls`: whether results can be put behind URLs.

    Raises `InvalidArgument` for an unknown or unsupported parameter and for an invalid value.
    """
    _check_names(form)
    theirs = {name: _single(form, name, parameter) for name, parameter in THEIRS.items()}
    own = {
        field: value
        for name, (field, parameter) in OWN.items()
        if (value := _single(form, name, parameter)) is not None
    }
    if chosen := loras.read_loras(form, _number):
        own["loras"] = chosen
    return ImageEdit(
        images=_images(form),
        prompt=theirs["prompt"] or "",
        model=theirs["model"] or None,
        mask=_picture(form, "mask"),
        own_mask=_picture(form, "mask_image"),
        n=_results(theirs["n"], own.get("seed"), stream=theirs["stream"]),
        size=theirs["size"],
        response_format=_response_format(theirs["response_format"], has_urls=has_urls, stream=theirs["stream"]),
        output_format=theirs["output_format"] or "png",
        output_compression=theirs["output_compression"],
        background=None if theirs["background"] == "auto" else theirs["background"],
        stream=bool(theirs["stream"]),
        partial_images=_partial_images(theirs["partial_images"], stream=theirs["stream"]),
        user=theirs["safety_identifier"] or theirs["user"] or None,
        own=_with_quality(own, theirs["quality"]),
    )


def _check_names(form: Form) -> None:
    for name in (*form.fields, *form.files):
        if name in REFUSED:
            raise InvalidArgument.field(
                name,
                f"cannot be honoured here: {REFUSED[name]}; leave it out",
                korean=f"{name}은(는) 지원하지 않습니다.",
            )
        if name not in _KNOWN:
            nearest = next(iter(difflib.get_close_matches(name, _KNOWN, 1, 0.0)))
            raise InvalidArgument.field(
                name[:80],
                f"is not a parameter of this API; the nearest is {nearest}",
                korean=f"그런 파라미터는 없습니다. 비슷한 이름은 {nearest}입니다.",
            )
    for name in form.fields:
        if name in FILES:
            raise InvalidArgument.field(name, "must be a file, and came as a text; a picture is sent, never fetched")
    for name in form.files:
        if name not in FILES:
            raise InvalidArgument.field(name, "must be a text, and came as a file")


def _single(form: Form, name: str, parameter: Parameter) -> Any:
    """The value of a parameter, given by its name or an alias; None if it is not set."""
    names = [name, *(alias for alias, meant in ALIASES.items() if meant == name)]
    given = [(found, text) for found in names for text in form.fields.get(found, [])]
    if len(given) > 1:
        said = " and ".join(dict.fromkeys(found for found, _ in given))
        raise InvalidArgument.field(name, f"is given {len(given)} times (as {said}); give it once")
    return parameter.read(*given[0]) if given else None


def _images(form: Form) -> tuple[bytes, ...]:
    found = [*form.files.get("image", []), *form.files.get("image[]", [])]
    if not found:
        raise InvalidArgument.field(
            "image", "is missing: the picture to edit, as a file", korean="편집할 이미지를 보내세요."
        )
    if len(found) > MAX_IMAGES:
        raise InvalidArgument.field("image", f"must be at most {MAX_IMAGES} pictures, are {len(found)}")
    return tuple(found)


def _picture(form: Form, name: str) -> bytes | None:
    found = form.files.get(name, [])
    if len(found) > 1:
        raise InvalidArgument.field(name, f"is given {len(found)} times; give it once")
    if found and {"mask", "mask_image"} <= set(form.files):
        raise InvalidArgument.field(
            "mask_image", "and mask exclude each other: mask is repainted where transparent, mask_image where white"
        )
    return found[0] if found else None


def _results(n: int | None, seed: int | None, *, stream: bool | None) -> int:
    wanted = 1 if n is None else n
    if not 1 <= wanted <= MAX_RESULTS:
        raise InvalidArgument.field("n", f"must be 1 to {MAX_RESULTS}, is {wanted}")
    if stream and wanted > 1:
        raise InvalidArgument.field("n", f"must be 1 with stream, is {wanted}; send one request per result")
    if seed is not None and seed + wanted - 1 > MAX_SEED:
        raise InvalidArgument.field(
            "seed", f"must leave room for n seeds up to {MAX_SEED}; n is {wanted} and seed is {seed}"
        )
    return wanted


def _response_format(chosen: ResponseFormat | None, *, has_urls: bool, stream: bool | None) -> ResponseFormat:
    if chosen == "url" and not has_urls:
        raise InvalidArgument.field(
            "response_format",
            "must be b64_json: this server has no public URL under which results could be fetched",
            korean="이 서버는 결과를 URL로 제공하지 않습니다. b64_json을 쓰세요.",
        )
    if chosen == "url" and stream:
        raise InvalidArgument.field("response_format", "must be b64_json with stream, is url")
    return chosen or "b64_json"


def _partial_images(wanted: int | None, *, stream: bool | None) -> int:
    if wanted is None:
        return 0
    if not 0 <= wanted <= MAX_PARTIAL_IMAGES:
        raise InvalidArgument.field("partial_images", f"must be 0 to {MAX_PARTIAL_IMAGES}, is {wanted}")
    if wanted and not stream:
        raise InvalidArgument.field("partial_images", f"must be 0 without stream, is {wanted}")
    return wanted


def _with_quality(own: dict[str, Any], quality: str | None) -> dict[str, Any]:
    """`quality` is our profile under another name."""
    profile = QUALITIES.get(quality or "auto")
    if profile is None:
        return own
    if "profile" in own:
        raise InvalidArgument.field("quality", "and profile exclude each other: quality sets the profile")
    return {**own, "profile": profile}


def _text(_name: str, text: str) -> str:
    return text


def _user(name: str, text: str) -> str:
    if len(text) > MAX_USER_CHARACTERS:
        raise InvalidArgument.field(name, f"must have at most {MAX_USER_CHARACTERS} characters, has {len(text)}")
    return text


def _integer(name: str, text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,10}", text):
        raise InvalidArgument.field(name, f"must be a whole number, is {quoted(text)}")
    value = int(text)
    if not -(2**31) <= value <= MAX_SEED:
        raise InvalidArgument.field(name, f"must be a number of 32 bits, is {value}")
    return value


def _small(name: str, text: str) -> int:
    value = _integer(name, text)
    if value >= 2**31:
        raise InvalidArgument.field(name, f"must be below {2**31}, is {value}")
    return value


def _seed(name: str, text: str) -> int:
    value = _integer(name, text)
    if value < 0:
        raise InvalidArgument.field(name, f"must be 0 to {MAX_SEED}, is {value}")
    return value


def _number(name: str, text: str) -> float:
    is_number = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", text) and len(text) <= 40
    if not is_number or not math.isfinite(float(text)):
        raise InvalidArgument.field(name, f"must be a number, is {quoted(text)}")
    return float(text)


def _boolean(name: str, text: str) -> bool:
    values = {"true": True, "false": False, "1": True, "0": False}
    if text.lower() not in values:
        raise InvalidArgument.field(name, f"must be true or false, is {quoted(text)}")
    return values[text.lower()]


def _size(name: str, text: str) -> tuple[int, int] | None:
    if text == "auto":
        return None
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if match is None:
        raise InvalidArgument.field(name, f"must be auto or WIDTHxHEIGHT, for instance 1024x1024; is {quoted(text)}")
    return int(match[1]), int(match[2])


def _choice(*choices: str) -> Callable[[str, str], str]:
    def read(name: str, text: str) -> str:
        if text not in choices:
            raise InvalidArgument.field(name, f"must be one of {', '.join(choices)}; is {quoted(text)}")
        return text

    return read


def _choosing(help: str, *choices: str) -> Parameter:
    return Parameter(help, "string", _choice(*choices), choices)


QUALITIES = {"auto": None, "low": "fast", "medium": "balanced", "high": "high"}
"""The profile that a quality stands for."""

FILES = {
    "image": "The picture to edit: a PNG, JPEG or WebP file. Several, also as `image[]`: the first is edited, the "
    "others are references, for features that take them.",
    "image[]": "As `image`, the name that the SDKs give a list.",
    "mask": "What to repaint: a PNG or WebP file of the picture's size, transparent = repaint.",
    "mask_image": "Our form of the mask instead: white = repaint, grey = soft edge.",
}

THEIRS = {
    "prompt": Parameter("What to do, up to 2000 characters.", "string", _text),
    "model": Parameter(
        "An experiment or `experiment/feature` of GET /v1/models. Default: the first feature that fits the request; "
        "with a mask, one that repaints a mask.",
        "string",
        _text,
    ),
    "n": Parameter("Number of results, each with its own seed.", "integer", _small, range=(1, MAX_RESULTS)),
    "size": Parameter("`auto`, or the picture's own size as WIDTHxHEIGHT; no other.", "string", _size),
    "response_format": _choosing("`url` only where the server has a public URL.", "b64_json", "url"),
    "output_format": _choosing("File format of the results (default png).", "png", "jpeg", "webp"),
    "output_compression": Parameter(
        "Quality of jpeg (default 95) and webp (default lossless).", "integer", _small, range=(1, 100)
    ),
    "background": _choosing(
        "`transparent`: the result is cut out. `opaque`: only for pictures without transparency, or jpeg. `whole`, "
        "`keep`, `remove`: ours, for features that edit by instruction.",
        "auto", "transparent", "opaque", "whole", "keep", "remove",
    ),
    "quality": _choosing("low, medium and high are the profiles fast, balanced and high.", *QUALITIES),
    "stream": Parameter("Answer with server-sent events.", "boolean", _boolean),
    "partial_images": Parameter(
        "Number of previews, with stream: JPEG files of at most 256 px per side.",
        "integer",
        _small,
        range=(0, MAX_PARTIAL_IMAGES),
    ),
    "user": Parameter("The caller's end user; written to the server's log.", "string", _user),
    "safety_identifier": Parameter("The same, by OpenAI's newer name.", "string", _user),
}  # fmt: skip
"""OpenAI's parameters, without the files."""

OWN: dict[str, tuple[str, Parameter]] = {
    "negative_prompt": ("negative_prompt", Parameter("What to avoid.", "string", _text)),
    "negative_scale": ("negative_scale", Parameter("Weight of the negative prompt, for FLUX.", "number", _number)),
    "steps": ("steps", Parameter("Denoise steps. Also as `num_inference_steps`.", "integer", _small)),
    "guidance_scale": (
        "guidance_scale",
        Parameter("How strongly the prompt is followed. Also as `true_cfg_scale`.", "number", _number),
    ),
    "strength": ("strength", Parameter("How much the picture may change, 0 to 1.", "number", _number)),
    "seed": ("seed", Parameter("The same seed gives the same picture; of n results the first's.", "integer", _seed)),
    "profile": ("profile", _choosing("Speed against quality; `quality` sets the same.", "fast", "balanced", "high")),
    "postprocess": (
        "postprocess",
        Parameter("Match the painted region's tone to its surroundings.", "boolean", _boolean),
    ),
    "expand_prompt": (
        "expand_prompt",
        Parameter("Have a language model expand the prompt first.", "boolean", _boolean),
    ),
    "mask_options[subject]": (
        "mask_options.subject",
        _choosing("Which part of BEN2's mask to repaint.", "subject", "background"),
    ),
    "mask_options[invert]": ("mask_options.invert", Parameter("Swap white and black.", "boolean", _boolean)),
    "mask_options[threshold]": (
        "mask_options.threshold",
        Parameter("The level that becomes one half.", "number", _number),
    ),
    "mask_options[fill_holes]": ("mask_options.fill_holes", Parameter("Fill enclosed holes.", "boolean", _boolean)),
    "mask_options[grow_px]": ("mask_options.grow_px", Parameter("Pixels to grow the mask by.", "integer", _small)),
    "mask_options[feather_px]": ("mask_options.feather_px", Parameter("Pixels of soft edge.", "integer", _small)),
    "outpaint[left]": ("outpaint.left", Parameter("Pixels to add at the left.", "integer", _small)),
    "outpaint[right]": ("outpaint.right", Parameter("Pixels to add at the right.", "integer", _small)),
    "outpaint[top]": ("outpaint.top", Parameter("Pixels to add at the top.", "integer", _small)),
    "outpaint[bottom]": ("outpaint.bottom", Parameter("Pixels to add at the bottom.", "integer", _small)),
    "outpaint[aspect]": ("outpaint.aspect", Parameter("Target aspect instead, for instance 16:9.", "string", _text)),
}
"""Our parameters by the names of the form, as the SDKs write `extra_body`; with each its field of an edit."""

LISTS = {
    "loras[]": Parameter(
        "A LoRA of the server: NAME or NAME:SCALE (default 1); up to three. Also as `loras`, or as `loras[][name]` "
        "with `loras[][scale]`.",
        "string",
        _text,
    )
}
"""Our parameters that may come several times."""

ALIASES = {"num_inference_steps": "steps", "true_cfg_scale": "guidance_scale"}
"""vLLM-Omni's and SGLang-Diffusion's names for our parameters."""

REFUSED = {
    "input_fidelity": "strength says how far the result may go from the picture",
    "moderation": "the operator's content policy applies to every request",
    "markup": "mask says what to repaint",
    "complexity": "steps and profile say how much is computed",
    "frame_count": "results are still pictures",
    "frame_duration_ms": "results are still pictures",
    "svg": "results are pixels",
    "style": "the prompt says the style",
    "url": "a picture is sent as a file, never fetched",
}
"""Parameters of OpenAI and of others that have no counterpart, and why."""

_KNOWN = (*FILES, *THEIRS, *OWN, *loras.PARTS, *ALIASES)
