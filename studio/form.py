"""What is asked for: the form. Draws what the parameters of the feature say, and gives the options of an edit.

Judges nothing that the server judges; it only sees to it that there is a picture and a prompt.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from imgedit.errors import ImgeditError
from imgedit.request import EditOptions
from imgedit.v1 import edit_pb2
from studio import components, errors, fields, pictures
from studio.catalogue import Form, configuration, default_of, samples
from studio.desk import Desk
from studio.pictures import Picture
from studio.text import Words, plain

NUMBERS = ("steps", "guidance_scale", "strength")
ASPECTS = ("1:1", "4:3", "3:4", "16:9", "9:16", "21:9")
MAX_MARGIN = 1024
"""Of the sliders; the API takes more."""

PREVIEWS = 8
"""How many previews one edit sends, about."""

BRUSH_SIDE = 800
"""Longest side of the picture that the brush works on, in pixels."""


@dataclass
class Wish:
    """What the form holds: the pictures and the options of the edit. missing: what to do first, if anything."""

    inputs: list[Picture] = field(default_factory=list)
    options: EditOptions | None = None
    missing: str | None = None
    is_asked: bool = False


def draw(words: Words, desk: Desk, form: Form, *, is_busy: bool) -> Wish:
    """The whole form, the button last."""
    wish = Wish()
    wish.inputs = _pictures(words, desk, form)
    options: dict[str, Any] = {"experiment": form.experiment.id, "feature": form.feature.id}
    _prompt(words, form, options)
    _numbers(words, form, options)
    first = wish.inputs[0] if len(wish.inputs) == 1 else None
    _references(words, desk, form, options)
    _margins(words, form, options, first)
    _mask(words, form, options, first)
    _advanced(words, form, options)
    wish.options = options  # type: ignore[assignment]
    if not wish.inputs:
        wish.missing = words("picture.none")
    elif "prompt" not in options and any(spec.name == "prompt" and spec.required for spec in form.feature.parameters):
        wish.missing = words("prompt.missing")
    count = len(wish.inputs)
    wish.is_asked = st.button(
        words("edit") if count < 2 else words("edit.many", count=count),
        type="primary",
        icon=":material/auto_fix_high:",
        width="stretch",
        disabled=is_busy or not form.feature.available,
        key="edit",
    )
    return wish


# The picture


def _pictures(words: Words, desk: Desk, form: Form) -> list[Picture]:
    form.take("input_image")
    st.subheader(words("picture"), anchor=False)
    uploads = st.file_uploader(
        words("upload"),
        ["png", "jpg", "jpeg", "webp"],
        accept_multiple_files=True,
        help=words("upload.help"),
        key=f"upload-{desk.upload_round}",
        label_visibility="collapsed",
    )
    if uploads:
        desk.chosen = None
    else:
        _samples(words, desk)
    if desk.chosen is not None:
        _chosen(words, desk, desk.chosen)
        return [desk.chosen]
    limit = configuration().max_files
    if len(uploads) > limit:
        st.warning(words("batch.too_many", max=limit, count=len(uploads)), icon=":material/photo_library:")
    found = []
    for upload in uploads[:limit]:
        picture = desk.opened(upload)
        if isinstance(picture, ImgeditError):
            errors.show(words, picture, title=plain(upload.name))
        else:
            found.append(picture)
    if len(found) > 1:
        st.info(words("batch.many", count=len(found)), icon=":material/photo_library:")
    return found


def _samples(words: Words, desk: Desk) -> None:
    offered = samples()
    if not offered:
        return
    st.caption(words("samples"))
    items = [
        components.Item(
            name,
            picture.thumb,
            words("samples.pick", name=name),
            chosen=desk.chosen is picture,
        )
        for name, picture in offered.items()
    ]
    picked = components.gallery(items, label=words("samples"), key="samples", side="4.6rem")
    if picked in offered and desk.chosen is not offered[picked]:
        desk.chosen = offered[picked]
        st.rerun()


def _chosen(words: Words, desk: Desk, picture: Picture) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f":gray[:material/image: {plain(picture.name)}]")
        if st.button(words("picture.remove"), type="tertiary", icon=":material/close:", key="remove"):
            desk.choose(None)
            st.rerun()


# The prompt


def _prompt(words: Words, form: Form, options: dict[str, Any]) -> None:
    spec = form.take("prompt")
    if spec is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader(words("prompt"), anchor=False, width="content")
        with st.popover(words("tips"), type="tertiary", icon=":material/lightbulb:"):
            _tips(words)
    prompt = st.text_area(
        words("prompt"),
        height=100,
        max_chars=int(spec.max),
        placeholder=words("prompt.placeholder"),
        key="prompt",
        label_visibility="collapsed",
        persist_state="session",
    )
    if prompt and prompt.strip():
        options["prompt"] = prompt
    _examples(words, form)
    if not {"ko"} & set(form.feature.prompt_languages) and "ko" in form.feature.rewritten_languages:
        st.caption(f":material/translate: {words('language.rewritten')}")
    _negative(words, form, options)


def _tips(words: Words) -> None:
    for tip in ("specific", "object", "style"):
        st.markdown(
            f"**{words(f'tips.{tip}')}**  \n"
            f":gray[:material/close: {words(f'tips.{tip}.weak')}]  \n"
            f":material/check: {words(f'tips.{tip}.good')}"
        )


def _examples(words: Words, form: Form) -> None:
    examples = words.list(f"examples.{form.feature.id}")
    if not examples:
        return
    with st.container(key="examples", gap="xsmall"):
        for place, example in enumerate(examples):
            st.button(
                example,
                type="tertiary",
                icon=":material/arrow_outward:",
                key=f"example-{form.feature.id}-{place}",
                on_click=_use_example,
                args=(example,),
            )


def _use_example(example: str) -> None:
    st.session_state["prompt"] = example


def _negative(words: Words, form: Form, options: dict[str, Any]) -> None:
    spec, scale = form.take("negative_prompt"), form.take("negative_scale")
    if spec is None:
        return
    automatic = default_of(spec)
    choices = ["auto", "custom", "off"] if automatic else ["off", "custom"]
    with st.expander(words("negative"), icon=":material/block:", key=form.key("negative")):
        how = st.segmented_control(
            words("negative"),
            choices,
            default=choices[0],
            required=True,
            format_func=lambda name: words(f"negative.{name}"),
            help=fields.help_of(words, spec),
            key=form.key("negative-how"),
            label_visibility="collapsed",
            persist_state="session",
        )
        if how == "auto":
            st.caption(words("negative.auto_text", text=plain(str(automatic))))
        elif how == "off" and automatic:
            options["negative_prompt"] = ""
        elif how == "custom":
            options["negative_prompt"] = st.text_area(
                words("negative.custom"),
                height=80,
                max_chars=int(spec.max),
                placeholder=words("negative.placeholder"),
                key=form.key("negative_prompt"),
                persist_state="session",
            )
            if scale is not None:
                _set(options, "negative_scale", fields.number(words, form, scale))


# Profile, numbers, seed


def _numbers(words: Words, form: Form, options: dict[str, Any]) -> None:
    profile_spec = form.take("profile")
    specs = [spec for spec in map(form.take, NUMBERS) if spec is not None]
    seed = form.take("seed")
    if not (profile_spec or specs or seed):
        return
    st.subheader(words("parameters"), anchor=False)
    profile = None
    if profile_spec is not None:
        profile = fields.choice(words, form, profile_spec)
        _set(options, "profile", profile and profile.removeprefix("PROFILE_").lower())
    name = profile or (str(default_of(profile_spec)) if profile_spec is not None else "")
    for spec in specs:
        _set(options, spec.name, _preset_number(words, form, spec, name))
    if seed is not None:
        _seed(words, seed, options)


def _preset_number(words: Words, form: Form, spec: edit_pb2.ParameterSpec, profile: str) -> float | None:
    """A slider that starts at what the profile sets. A profile may set what no request may: that is shown instead."""
    preset = form.presets.get(profile, {}).get(spec.name)
    suffix = f"-{profile}"
    if preset is not None and not spec.min <= preset <= spec.max:
        st.markdown(
            words(
                "by_profile",
                name=fields.name_of(words, spec),
                value=fields.shown(preset),
                profile=words.named("choice", profile),
            )
        )
        if not st.toggle(
            words("by_profile.own", name=fields.name_of(words, spec)), key=f"{form.key(spec.name)}{suffix}-own"
        ):
            return None
        preset = None
    value = fields.number(words, form, spec, default=preset, suffix=suffix)
    if preset is None and value is None:  # the slider stands where it started, but the profile says otherwise
        default = default_of(spec)
        return float(default) if isinstance(default, int | float) and profile in form.presets else None
    return value


def _seed(words: Words, spec: edit_pb2.ParameterSpec, options: dict[str, Any]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        how = st.segmented_control(
            words("parameter.seed"),
            ["random", "fixed"],
            default="random",
            required=True,
            format_func=lambda name: words(f"seed.{name}"),
            help=fields.help_of(words, spec),
            key="seed-how",
            persist_state="session",
        )
        if how == "fixed":
            options["seed"] = int(
                st.number_input(
                    words("seed.value"), int(spec.min), int(spec.max), 42, 1, key="seed", persist_state="session"
                )
            )


# References, margins, mask


def _references(words: Words, desk: Desk, form: Form, options: dict[str, Any]) -> None:
    spec = form.take("reference_images")
    if spec is None:
        return
    most = int(spec.max)
    st.subheader(words("references"), anchor=False)
    uploads = st.file_uploader(
        words("references.upload", max=most),
        ["png", "jpg", "jpeg", "webp"],
        accept_multiple_files=True,
        help=fields.help_of(words, spec),
        key=form.key("references"),
    )
    if len(uploads) > most:
        st.warning(words("references.too_many", max=most))
    found = []
    for place, (upload, column) in enumerate(zip(uploads[:most], st.columns(most), strict=False)):
        picture = desk.opened(upload)
        if isinstance(picture, ImgeditError):
            errors.show(words, picture, title=plain(upload.name))
            continue
        name = words("references.caption", number=place + 2)
        column.image(picture.thumb, caption=name, alt=name)
        found.append(picture.data)
    st.caption(words("references.how"))
    if found:
        options["references"] = found


def _margins(words: Words, form: Form, options: dict[str, Any], picture: Picture | None) -> None:
    if form.take("outpaint") is None:
        return
    st.subheader(words("outpaint"), anchor=False)
    how = st.segmented_control(
        words("outpaint"),
        ["prompt", "margins", "aspect"],
        default="prompt",
        required=True,
        format_func=lambda name: words(f"outpaint.{name}"),
        key=form.key("outpaint-how"),
        label_visibility="collapsed",
        persist_state="session",
    )
    margins: pictures.Margins | None = None
    if how == "prompt":
        st.caption(words("outpaint.by_words"))
    elif how == "aspect":
        aspect = st.pills(
            words("outpaint.aspect"), ASPECTS, default="16:9", required=True, key=form.key("aspect"),
            label_visibility="collapsed", persist_state="session",
        )  # fmt: skip
        options["outpaint"] = edit_pb2.Outpaint(aspect=aspect)
        margins = pictures.aspect_margins(picture.size, str(aspect)) if picture else None
    else:
        left, right, top, bottom = _margin_sliders(words, form)
        if left or right or top or bottom:
            options["outpaint"] = edit_pb2.Outpaint(left=left, right=right, top=top, bottom=bottom)
        margins = (left, right, top, bottom)
    if picture and margins and any(margins):
        _margins_preview(words, picture, margins)


def _margin_sliders(words: Words, form: Form) -> pictures.Margins:
    found = []
    for pair in (("left", "right"), ("top", "bottom")):
        for side, column in zip(pair, st.columns(2), strict=True):
            found.append(
                column.slider(
                    words(f"outpaint.{side}"), 0, MAX_MARGIN, 0, 16, key=form.key(f"margin-{side}"),
                    persist_state="session",
                )
            )  # fmt: skip
    left, right, top, bottom = found
    return left, right, top, bottom


def _margins_preview(words: Words, picture: Picture, margins: pictures.Margins) -> None:
    width, height = picture.width + margins[0] + margins[1], picture.height + margins[2] + margins[3]
    caption = words("outpaint.preview", width=width, height=height)
    st.image(_margins_drawn(picture.thumb, picture.size, margins), caption=caption, alt=caption, width=320)


@st.cache_data(show_spinner=False, max_entries=64)
def _margins_drawn(view: bytes, size: tuple[int, int], margins: pictures.Margins) -> bytes:
    return pictures.margins_drawn(view, size, margins, "#4338ca")


def _mask(words: Words, form: Form, options: dict[str, Any], picture: Picture | None) -> None:
    spec = form.take("mask_image")
    worked = [spec for spec in form.rest() if spec.name.startswith("mask.")]
    if spec is None and not worked:
        return
    choices = ["brush", "upload"] if spec is not None and spec.required else ["auto", "brush", "upload"]
    with st.expander(words("mask"), icon=":material/brush:", key=form.key("mask-box")):
        how = st.segmented_control(
            words("mask.how"),
            choices,
            default=choices[0],
            required=True,
            format_func=lambda name: words(f"mask.{name}"),
            help=fields.help_of(words, spec) if spec is not None else None,
            key=form.key("mask-how"),
            persist_state="session",
        )
        if how == "brush":
            _brush(words, form, picture)
            _set(options, "mask", _brushed(form, picture))
        elif how == "upload":
            _set(options, "mask", _uploaded_mask(words, form, picture))
        _mask_options(words, form, options, is_own=how != "auto")


def _brush_key(form: Form) -> str:
    return form.key("brush")


@st.fragment
def _brush(words: Words, form: Form, picture: Picture | None) -> None:
    """A fragment: a stroke draws nothing else anew."""
    if picture is None:
        st.caption(words("mask.needs_picture"))
        return
    scale = min(1.0, BRUSH_SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    mask = components.brush(words, picture.view, size, id=_identity(picture), key=_brush_key(form))
    if not mask:
        st.caption(words("mask.empty"))


def _brushed(form: Form, picture: Picture | None) -> bytes | None:
    state: Any = st.session_state.get(_brush_key(form))
    drawn = state.get("mask") if state else None
    if not drawn or picture is None:
        return None
    return _mask_at(base64.b64decode(drawn.partition(",")[2]), picture.size)


@st.cache_data(show_spinner=False, max_entries=8)
def _mask_at(drawn: bytes, size: tuple[int, int]) -> bytes | None:
    return pictures.mask_at(drawn, size)


def _identity(picture: Picture) -> str:
    return f"{picture.name}-{picture.width}-{picture.height}-{hash(picture.thumb)}"


def _uploaded_mask(words: Words, form: Form, picture: Picture | None) -> bytes | None:
    upload = st.file_uploader(words("mask.file"), ["png", "webp", "jpg", "jpeg"], key=form.key("mask-file"))
    if upload is None:
        return None
    mask = upload.getvalue()
    if picture is not None:
        try:
            over = _mask_over(picture.view, mask)
        except ImgeditError as error:
            errors.show(words, error)
            return None
        st.image(over, caption=words("mask.overlay"), alt=words("mask.overlay"), width=320)
    return mask


@st.cache_data(show_spinner=False, max_entries=8)
def _mask_over(view: bytes, mask: bytes) -> bytes:
    return pictures.mask_over(view, mask)


def _mask_options(words: Words, form: Form, options: dict[str, Any], *, is_own: bool) -> None:
    chosen = edit_pb2.MaskOptions()
    for name in ("subject", "threshold", "grow_px", "feather_px", "fill_holes", "invert"):
        spec = form.take(f"mask.{name}")
        if spec is None or (is_own and name == "subject"):
            continue
        value = fields.field(words, form, spec)
        if value is not None:
            setattr(chosen, name, edit_pb2.MaskSubject.Value(value) if name == "subject" else value)
    if chosen.ByteSize():
        options["mask_options"] = chosen


# The rest


def _advanced(words: Words, form: Form, options: dict[str, Any]) -> None:
    previews, output = form.take("preview_every"), form.take("output")
    if previews is not None:
        options["preview_every"] = max(1, round(options.get("steps", 28) / PREVIEWS))
    rest = form.rest()
    if not rest and output is None:
        return
    with st.expander(words("advanced"), icon=":material/tune:", key=form.key("advanced")):
        for spec in rest:
            value = fields.field(words, form, spec)
            if value is not None:
                options[spec.name] = _as_option(spec.name, value)
        if output is not None:
            _output(words, form, options)


def _as_option(name: str, value: Any) -> Any:
    """The names of the client's options where they differ from those of the API."""
    if name == "background":
        return value.removeprefix("BACKGROUND_").lower()
    return value != "POSTPROCESS_OFF" if name == "postprocess" else value


def _output(words: Words, form: Form, options: dict[str, Any]) -> None:
    names = ["OUTPUT_FORMAT_PNG", "OUTPUT_FORMAT_JPEG", "OUTPUT_FORMAT_WEBP"]
    chosen = st.segmented_control(
        words("output.format"),
        names,
        default=names[0],
        required=True,
        format_func=lambda name: words.named("choice", name),
        key=form.key("format"),
        persist_state="session",
    )
    if chosen == names[0]:
        return
    quality = st.slider(words("output.quality"), 50, 100, 95, key=form.key("quality"), persist_state="session")
    options["output"] = edit_pb2.OutputOptions(format=str(chosen), quality=quality)


def _set(options: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        options[name] = value
