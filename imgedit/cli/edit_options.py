"""The edit options of `imgedit edit` and `imgedit batch`, and their EditOptions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from imgedit.cli import completion
from imgedit.cli.help_layout import CONNECTION
from imgedit.cli.options import instead_of
from imgedit.request import EditOptions
from imgedit.values import Background, Format, Lora, Mask, Omit, Outpaint, Output, Profile, Subject

Ask = Callable[[], EditOptions]

FORMATS: dict[str, Format] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".jfif": "jpeg", ".webp": "webp"}
"""The format of a result by the ending of its name."""

Quality = Annotated[
    int | None,
    typer.Option(help="Quality of a JPEG (default 95) or WebP (default lossless), 1 to 100.", min=1, max=100),
]

MASK = "Mask"
OUTPAINT = "Extending"


def _options(
    experiment: Annotated[
        str,
        typer.Option("--experiment", "-e", help="Id of the experiment.", autocompletion=completion.experiments),
    ],
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="What to do. Required unless the feature has a default prompt.")
    ] = None,
    feature: Annotated[
        str | None,
        typer.Option(
            "--feature",
            "-f",
            help="Id of the feature. [default: the experiment's first]",
            autocompletion=completion.features,
        ),
    ] = None,
    expand_prompt: Annotated[
        bool, typer.Option("--expand-prompt", help="Have a language model expand the prompt first.")
    ] = False,
    negative_prompt: Annotated[str | None, typer.Option(help="What to avoid.")] = None,
    negative_scale: Annotated[float | None, typer.Option(help="Weight of the negative prompt (FLUX).")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoise steps, 10 to 50.")] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option("--guidance-scale", "--guidance", help="How strongly the prompt is followed, 1 to 15."),
    ] = None,
    strength: Annotated[float | None, typer.Option(help="How much the picture may change, 0.0 to 1.0.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same picture.", min=0, max=2**32 - 1)
    ] = None,
    profile: Annotated[Profile | None, typer.Option(help="Speed against quality. [default: balanced]")] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            help="A LoRA of the server, and its strength (default 1); may be given three times.",
            metavar="NAME[:SCALE]",
            autocompletion=completion.loras,
        ),
    ] = None,
    background: Annotated[
        Background | None,
        typer.Option(help="Treatment of the area around the subject (Qwen). [default: the feature's]"),
    ] = None,
    postprocess: Annotated[bool, typer.Option(help="Match the painted region's tone to its surroundings.")] = True,
    reference: Annotated[list[Path] | None, typer.Option(help="A reference picture; may be given twice.")] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="What to repaint, white, at the picture's size. [default: found by BEN2]", rich_help_panel=MASK
        ),
    ] = None,
    mask_subject: Annotated[
        Subject | None,
        typer.Option(help="Which part of BEN2's mask to repaint. [default: the feature's]", rich_help_panel=MASK),
    ] = None,
    mask_invert: Annotated[
        bool, typer.Option("--mask-invert", help="Swap white and black.", rich_help_panel=MASK)
    ] = False,
    mask_threshold: Annotated[
        float | None,
        typer.Option(
            help="The level between 0 and 1 that becomes one half; a lower one selects more.", rich_help_panel=MASK
        ),
    ] = None,
    mask_fill_holes: Annotated[
        bool, typer.Option("--mask-fill-holes", help="Fill holes that the mask encloses.", rich_help_panel=MASK)
    ] = False,
    mask_grow: Annotated[
        int | None, typer.Option(help="Grow the mask by so many pixels.", metavar="PX", rich_help_panel=MASK)
    ] = None,
    mask_feather: Annotated[
        int | None,
        typer.Option(help="Soften the mask's edge over so many pixels, inward.", metavar="PX", rich_help_panel=MASK),
    ] = None,
    left: Annotated[int, typer.Option(help="Pixels to add at the left.", rich_help_panel=OUTPAINT)] = 0,
    right: Annotated[int, typer.Option(help="Pixels to add at the right.", rich_help_panel=OUTPAINT)] = 0,
    top: Annotated[int, typer.Option(help="Pixels to add at the top.", rich_help_panel=OUTPAINT)] = 0,
    bottom: Annotated[int, typer.Option(help="Pixels to add at the bottom.", rich_help_panel=OUTPAINT)] = 0,
    aspect: Annotated[
        str | None, typer.Option(help="Extend to this aspect, for instance 16:9.", rich_help_panel=OUTPAINT)
    ] = None,
    webhook_url: Annotated[
        str | None,
        typer.Option(
            help="An https URL that the server calls when the edit ends.", metavar="URL", rich_help_panel=CONNECTION
        ),
    ] = None,
) -> EditOptions:
    """The options of an edit, except its output."""
    for name, text in (("prompt", prompt), ("negative-prompt", negative_prompt), ("experiment", experiment)):
        _check_text(name, text)
    for name, text in (
        ("feature", feature),
        ("aspect", aspect),
        ("webhook-url", webhook_url),
        *(("lora", one) for one in lora or ()),
    ):
        _check_text(name, text)
    mask_options = Mask(
        subject=mask_subject,
        invert=mask_invert,
        threshold=mask_threshold,
        fill_holes=mask_fill_holes,
        grow_px=mask_grow,
        feather_px=mask_feather,
    )
    outpaint = Outpaint(left=left, right=right, top=top, bottom=bottom, aspect=aspect)
    return EditOptions(
        experiment=experiment,
        prompt=prompt,
        feature=feature,
        expand_prompt=expand_prompt,
        negative_prompt=negative_prompt,
        negative_scale=negative_scale,
        steps=steps,
        guidance_scale=guidance_scale,
        strength=strength,
        seed=seed,
        profile=profile,
        loras=[_lora(one) for one in lora or ()],
        background=background,
        postprocess=postprocess,
        references=reference or (),
        mask=mask,
        mask_options=mask_options if mask_options != Mask() else None,
        outpaint=outpaint if outpaint != Outpaint() else None,
        webhook_url=webhook_url,
    )


def _lora(given: str) -> Lora:
    """NAME or NAME:SCALE; a name has no colon."""
    name, colon, scale = given.partition(":")
    try:
        if not name:
            raise ValueError
        return Lora(name, float(scale) if colon else 1.0)
    except ValueError:
        raise typer.BadParameter(
            f"--lora: must be NAME or NAME:SCALE, for instance ink or ink:0.8; is {given!r}"
        ) from None


def _check_text(name: str, text: str | None) -> None:
    """Refuse bytes that the terminal's encoding does not know.

    They reach a program as lone surrogates.
    """
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        encoding = sys.getfilesystemencoding()
        raise typer.BadParameter(f"--{name}: character {error.start + 1} is not text in {encoding}") from None


asking = instead_of("ask", _options)
"""Gives a command these options instead of its parameter `ask`."""


def given_files(options: EditOptions) -> Iterator[Path]:
    """The files besides the picture that the options name."""
    for source in (options.get("mask"), *(options.get("references") or ())):
        if isinstance(source, Path):
            yield source


def output_options(ending: str, quality: int | None, *, has_cutout: bool = False, has_mask: bool = False) -> Output:
    """The output options for the files to write: their format, and no other images."""
    wanted: dict[Omit, bool] = {"cutout": has_cutout, "mask": has_mask}
    omit = tuple(what for what, is_wanted in wanted.items() if not is_wanted)
    return Output(format=FORMATS[ending], quality=quality, omit=omit)
