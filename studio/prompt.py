"""The prompt and the negative prompt, with the guide's tips and examples."""

from __future__ import annotations

from typing import Any

import streamlit as st

from studio import fields
from studio.catalogue import Form, default_of
from studio.text import Words, plain


def draw_prompt(words: Words, form: Form, options: dict[str, Any]) -> None:
    """The prompt with tips and examples, and the negative prompt."""
    spec = form.take("prompt")
    if spec is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header(words("prompt"), anchor=False, width="content")
        with st.popover(words("tips"), type="tertiary", icon=":material/lightbulb:"):
            _tips(words)
    prompt = st.text_area(
        words("prompt"),
        height=100,
        placeholder=str(default_of(spec) or words("prompt.placeholder")),
        key="prompt",
        label_visibility="collapsed",
        persist_state="session",
    )
    if prompt and prompt.strip():
        options["prompt"] = prompt
    if prompt and len(prompt) > spec.length.max:  # a field that ends there would drop what is pasted without a word
        st.error(words("prompt.too_long", count=len(prompt), max=spec.length.max), icon=":material/error:")
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
    """Those of the catalogue that are in the reader's language."""
    examples = list(filter(None, (example.prompt.get(words.language, "") for example in form.feature.examples)))
    if not examples:
        return
    with st.container(key="examples", gap="xsmall"):
        for place, example in enumerate(examples):
            st.button(
                plain(example),
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
                max_chars=spec.length.max,
                placeholder=words("negative.placeholder"),
                key=form.key("negative_prompt"),
                persist_state="session",
            )
            weight = fields.number_field(words, form, scale) if scale is not None else None
            if weight is not None:
                options["negative_scale"] = weight
