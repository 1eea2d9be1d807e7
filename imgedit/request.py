"""The options of an edit as Python keywords, and their EditRequest.

Judges types, choices and what no request can hold. The server judges ranges and answers with the field at fault.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from imgedit.arguments import UINT32, flag, needed_text, number, text, whole
from imgedit.image_source import ImageSource, check_several, read_source, several
from imgedit.keywords import accepting
from imgedit.v1 import edit_pb2, lora_pb2
from imgedit.values import Background, Lora, Mask, Outpaint, Output, Profile, check_choice, label


class _RequiredOptions(TypedDict):
    experiment: str


class EditOptions(_RequiredOptions, total=False):
    """Options of an edit. An unset option, or None, takes the feature's default.

    Only `experiment` is required.

    experiment: id of the experiment; `experiments()` lists them with their features, ranges and defaults.
    feature: id of the feature. Unset = the experiment's first one.
    prompt: what to do, 1 to 2,000 characters. Optional for a feature that paints nothing or has a default prompt.
    expand_prompt: True = have a language model write the prompt out first.
    negative_prompt: what to avoid; "" is a blank one, and counts.
    negative_scale: weight of the negative prompt, 1.0 to 10.0; FLUX only.
    steps: denoise steps, 10 to 50.
    guidance_scale: how strongly the prompt is followed, 1.0 to 15.0.
    strength: how far the result may go from the picture, 0.0 to 1.0.
    seed: 0 to 2**32 - 1; the same seed gives the same picture. Unset = the feature's own, or drawn; returned.
    n: results to make, 1 to 4, with the seeds seed, seed + 1 and so on; `results` of the result has all.
    profile: "fast", "balanced" or "high": speed against quality. Sets steps, guidance and strength where unset.
    loras: up to 3 LoRAs of the server: their names, or `imgedit.Lora` values with a scale.
    mask: a picture of what to repaint: white, of the picture's size. Unset = what BEN2 finds.
    mask_options: an `imgedit.Mask`: subject, invert, threshold, fill_holes, grow_px, feather_px.
    background: "whole", "keep", "remove" or "transparent": what becomes of the picture around the subject; Qwen only.
    outpaint: an `imgedit.Outpaint`: margins in pixels, or an aspect.
    references: up to 2 further pictures, "Picture 2" and "Picture 3" in the prompt.
    postprocess: False = do not match the painted region's tone to its surroundings.
    output: an `imgedit.Output`: format and quality of the result, and pictures to leave out.
    preview_every: a preview after every so many steps, 0 to 100; `on_event` is called with them.
    request_id: your own id, 1 to 64 letters, digits, ".", "_" or "-". Unset = generated.
    webhook_url: an https URL that the server calls at the end of the edit, if it allows the host.
    """

    feature: str | None
    prompt: str | None
    expand_prompt: bool | None
    negative_prompt: str | None
    negative_scale: float | None
    steps: int | None
    guidance_scale: float | None
    strength: float | None
    seed: int | None
    n: int | None
    profile: Profile | None
    loras: Sequence[str | Lora | lora_pb2.LoraUse] | None
    mask: ImageSource | None
    mask_options: Mask | edit_pb2.MaskOptions | None
    background: Background | None
    outpaint: Outpaint | edit_pb2.Outpaint | None
    references: Sequence[ImageSource] | None
    postprocess: bool | None
    output: Output | edit_pb2.OutputOptions | None
    preview_every: int | None
    request_id: str | None
    webhook_url: str | None


_REQUEST_ID = 'a str of 1 to 64 letters, digits, ".", "_" or "-"'

EDIT_OPTIONS = tuple(EditOptions.__annotations__)
"""The names of all options."""


@accepting(EditOptions)
def edit_request(image: ImageSource, **options: Unpack[EditOptions]) -> edit_pb2.EditRequest:
    """The EditRequest of one edit, with a request id.

    Raises OSError for an unreadable file, TypeError for an unknown option, a missing `experiment` or an argument of
    another type, ValueError for a value that no request can hold.
    """
    request = _without_pictures(options)
    mask, references = options.get("mask"), options.get("references")
    request.input_image = read_source(image, "image")
    if mask is not None:
        request.mask_image = read_source(mask, "mask")
    if references is not None:
        named = enumerate(several("references", references))
        request.reference_images.extend(read_source(reference, f"references[{place}]") for place, reference in named)
    return request


def check_options(options: EditOptions) -> None:
    """Raise TypeError or ValueError for an option at fault, without reading a picture."""
    _without_pictures(options)
    if (references := options.get("references")) is not None:
        check_several("references", references)


def _without_pictures(options: EditOptions) -> edit_pb2.EditRequest:
    profile, background = options.get("profile"), options.get("background")
    check_choice("profile", profile, Profile)
    check_choice("background", background, Background)
    postprocess = flag("postprocess", options.get("postprocess"))
    return edit_pb2.EditRequest(
        experiment_id=needed_text("experiment", options["experiment"], "a str, an id of experiments()"),
        feature_id=text("feature", options.get("feature"), "a str, an id of experiments()"),
        prompt=text("prompt", options.get("prompt"), "a str of 1 to 2,000 characters") or "",
        expand_prompt=bool(flag("expand_prompt", options.get("expand_prompt"))),
        negative_prompt=text("negative_prompt", options.get("negative_prompt"), "a str of up to 2,000 characters"),
        negative_scale=number("negative_scale", options.get("negative_scale"), "usually 1.0 to 10.0"),
        steps=whole("steps", options.get("steps"), "usually 10 to 50"),
        guidance_scale=number("guidance_scale", options.get("guidance_scale"), "usually 1.0 to 15.0"),
        strength=number("strength", options.get("strength"), "0.0 to 1.0"),
        seed=whole("seed", options.get("seed"), f"0 to {UINT32[1]}", UINT32),
        n=whole("n", options.get("n"), "1 to 4"),
        profile=label("PROFILE", profile),
        loras=_loras(options.get("loras")),
        mask_options=_sent("mask_options", options.get("mask_options"), Mask, edit_pb2.MaskOptions),
        background=label("BACKGROUND", background),
        outpaint=_sent("outpaint", options.get("outpaint"), Outpaint, edit_pb2.Outpaint),
        postprocess="POSTPROCESS_OFF" if postprocess is False else None,
        output=_sent("output", options.get("output"), Output, edit_pb2.OutputOptions),
        preview_every=whole("preview_every", options.get("preview_every"), "0 to 100"),
        request_id=text("request_id", options.get("request_id"), _REQUEST_ID) or uuid.uuid4().hex,
        webhook_url=text("webhook_url", options.get("webhook_url"), "a str, an https URL"),
    )


def _loras(given: Any) -> list[lora_pb2.LoraUse]:
    """The messages of LoRAs; a name alone has the scale 1.0."""
    if given is None:
        return []
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"loras must be a list of names or imgedit.Lora values, is {type(given).__name__}")
    named = [Lora(one) if isinstance(one, str) else one for one in given]
    if None in named:
        raise TypeError(f"loras[{named.index(None)}] must be a name or an imgedit.Lora, is None")
    return [_sent(f"loras[{index}]", one, Lora, lora_pb2.LoraUse) for index, one in enumerate(named)]


def _sent(name: str, value: Any, kind: type[Any], message: type[Any]) -> Any:
    """The message of a value; a message of the API is sent as it is."""
    if value is None or isinstance(value, message):
        return value
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be an imgedit.{kind.__name__}, is {type(value).__name__}")
    return value.message
