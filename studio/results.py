"""The result of an edit: images, parameters, and next actions."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from dataclasses import replace

import streamlit as st

from imgedit.errors import ImgeditError
from imgedit.result import EditResult
from imgedit.v1 import edit_pb2, profile_pb2
from studio import components, errors, input_images
from studio.gallery import show
from studio.gallery.shelf import Shelf
from studio.runs import Result
from studio.session import Session
from studio.text import Words, plain


def show_result(words: Words, session: Session, shelf: Shelf | None, result: Result) -> bool:
    """Show the result; True when "other seeds" was pressed."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.header(words("result"), anchor=False, width="content")
        st.caption(words("result.done", time=words.seconds(result.answer.elapsed_time)), width="content")
    _views(words, result)
    is_again = _actions(words, session, shelf, result)
    _variants(words, session, result)
    with st.expander(words("details"), icon=":material/receipt_long:", key="details"):
        _details(words, result)
    return is_again


def _views(words: Words, result: Result) -> None:
    compare, beside, *mask = st.tabs(
        [words("compare"), words("side_by_side"), *([words("mask.used")] if result.mask else [])]
    )
    with compare:
        components.compare(words, result.before, result.after, key=f"compare-{result.number}")
    with beside:
        views = [(result.source.view, "original"), (result.cutout, "cutout"), (result.after, "edited")]
        if not result.is_painted:
            del views[1]  # it is the result
        columns = st.columns(len(views))
        for view, name, column in ((v, n, c) for (v, n), c in zip(views, columns, strict=True) if v):
            column.image(view, caption=words(name), alt=words(name), width="stretch")
    for tab in mask:
        if result.mask:
            tab.image(result.mask, alt=words("mask.used"), width="stretch")


def _edit_further(words: Words, session: Session, result: Result) -> None:
    try:
        opened = input_images.open_image(result.file_name, result.answer.output_image, session.visit)
    except ImgeditError as error:
        errors.show_error(words, error)
        return
    session.choose(replace(opened, original=result.source.original or result.source))
    st.rerun()


def _actions(words: Words, session: Session, shelf: Shelf | None, result: Result) -> bool:
    answer = result.answer
    with st.container(horizontal=True, key="actions"):
        _download(words("download"), answer.output_image, result.file_name, key="download", is_main=True)
        if st.button(words("use_result"), icon=":material/input:", key="use-result"):
            _edit_further(words, session, result)
        is_again = result.is_painted and st.button(words("again"), icon=":material/casino:", key="again")
        if result.values and st.button(words("load"), icon=":material/tune:", key="load"):
            session.load(result)
            st.rerun()
        if answer.background_removed_image and result.is_painted:
            name = f"{result.stem}-cutout{result.mark}.png"
            _download(words("download.cutout"), answer.background_removed_image, name, key="download-cutout")
        if answer.mask_image:
            name = f"{result.stem}-mask{result.mark}.png"
            _download(words("download.mask"), answer.mask_image, name, key="download-mask")
        show.draw_actions(words, session, shelf, result)
    return is_again


def _download(label: str, data: bytes, name: str, *, key: str, is_main: bool = False) -> None:
    st.download_button(
        label,
        lambda: data,  # read on press, not at every rerun
        name,
        mimetypes.guess_type(name)[0] or "application/octet-stream",
        key=key,
        icon=":material/download:",
        type="secondary" if is_main else "tertiary",
        on_click="ignore",
    )


def _variants(words: Words, session: Session, result: Result) -> None:
    if len(session.variants) < 2 or result not in session.variants:
        return
    st.caption(words("variants"))
    items = [
        components.Item(
            str(variant.number), variant.thumb, words("history.pick", number=variant.number, feature=""),
            caption=str(variant.answer.seed), chosen=variant is result,
        )
        for variant in session.variants
    ]  # fmt: skip
    picked = components.gallery(items, label=words("variants"), key="variants", side="7rem")
    if picked is not None and picked != str(result.number):
        session.shown = next((variant for variant in session.variants if str(variant.number) == picked), result)
        st.rerun()


def _details(words: Words, result: Result) -> None:
    used = result.answer.effective
    if result.is_painted:
        _prompts(words, used)
    facts, times = st.columns([3, 2])
    with facts:
        rows = "\n".join(f"| {name} | {plain(value)} |" for name, value in _facts(words, result))
        st.markdown(f"| {words('details.parameter')} | {words('details.value')} |\n| --- | --- |\n{rows}")
    with times:
        st.caption(words("details.timings"))
        for timing in result.answer.stage_timings:
            share = min(1.0, timing.seconds / max(result.answer.elapsed_time, 1e-9))
            st.progress(share, text=f"{words.named('stage', timing.name)} · {words.seconds(timing.seconds)}")
    answer = EditResult(result.answer)
    if answer.warnings:
        st.caption(words("details.warnings"))
        for warning in answer.korean_warnings if words.language == "ko" else answer.warnings:
            st.markdown(f":material/info: {plain(warning)}")


def _prompts(words: Words, used: edit_pb2.EffectiveParameters) -> None:
    rewrites = {
        edit_pb2.PROMPT_REWRITE_TRANSLATED: words("details.translated"),
        edit_pb2.PROMPT_REWRITE_EXPANDED: words("details.expanded"),
    }
    rewrite = rewrites.get(used.prompt_rewrite)
    st.caption(words("details.prompt") + (f" · {rewrite}" if rewrite else ""))
    st.code(used.prompt, language=None, wrap_lines=True)
    if used.HasField("requested_prompt"):
        st.caption(words("details.requested"))
        st.code(used.requested_prompt, language=None, wrap_lines=True)
    if used.HasField("negative_prompt"):
        st.caption(words("details.negative"))
        st.code(used.negative_prompt, language=None, wrap_lines=True)


def _facts(words: Words, result: Result) -> Iterator[tuple[str, str]]:
    """Every parameter as it was used, by name."""
    answer, used = result.answer, result.answer.effective
    if result.is_painted:
        yield from _painting(words, used)
    yield words("value.size"), f"{answer.width} × {answer.height} px"
    if used.work_width:
        yield words("value.work_size"), f"{used.work_width} × {used.work_height} px"
    yield words("value.mask_source"), words.named("choice", edit_pb2.MaskSource.Name(used.mask_source))
    if used.background:
        yield words("value.background"), words.named("choice", edit_pb2.Background.Name(used.background))
    if used.HasField("outpaint"):
        added = used.outpaint
        yield words("value.outpaint"), f"{added.left}, {added.right}, {added.top}, {added.bottom} px"
    if used.reference_count:
        yield words("references"), str(used.reference_count)
    yield words("value.models"), ", ".join(f"{model.model_id} ({model.revision})" for model in used.models)
    yield words("value.request_id"), answer.request_id


def _painting(words: Words, used: edit_pb2.EffectiveParameters) -> Iterator[tuple[str, str]]:
    """How it was painted."""
    yield words("value.seed"), str(used.seed)
    yield words("value.steps"), str(used.steps)
    yield words("value.steps_run"), str(used.steps_run)
    if used.full_steps < used.steps_run:
        yield words("value.full_steps"), str(used.full_steps)
    yield words("value.guidance_scale"), f"{used.guidance_scale:g}"
    yield words("value.strength"), f"{used.strength:g}"
    if used.HasField("negative_scale"):
        yield words("parameter.negative_scale"), f"{used.negative_scale:g}"
    yield words("value.profile"), words.named("choice", profile_pb2.Profile.Name(used.profile))
