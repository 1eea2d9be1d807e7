"""The page "이미지 편집 실험", in the order of its parts."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import streamlit as st

from imgedit.errors import ImgeditError, TryLater
from imgedit.request import EditOptions
from imgedit.v1 import edit_pb2
from imgedit.values import Output
from studio import (
    batch_list,
    batch_results,
    catalogue,
    components,
    cropping,
    errors,
    expected,
    form,
    history,
    line_card,
    login,
    progress,
    repainted,
    results,
    tasks,
    widget_values,
)
from studio.batch import Batch, zip_name
from studio.catalogue import Form
from studio.form import EditForm
from studio.gallery import show
from studio.gallery.shelf import Shelf, shelf_of
from studio.line import MOST_WAITING, Job
from studio.runs import Result, Run, Task, Values, tasks_of
from studio.session import Session, current, take
from studio.settings import Settings
from studio.text import LANGUAGES, Language, Words, plain

STYLE = Path(__file__).with_name("style.css")
ICON = Path(__file__).with_name("icon.svg")

LOOK_SECONDS = 5
"""Polling interval of an unavailable feature."""


def show_page() -> None:
    """Draw the page once."""
    settings = catalogue.configuration()
    _come_back(settings)
    words = _words()
    st.set_page_config(words("title"), str(ICON), layout="wide", initial_sidebar_state="collapsed")
    st.html(STYLE)
    _words_of_streamlit(words)
    session = current()
    _settle(session)
    components.page(
        words, visit=session.id, browser=_browser(settings), is_busy=session.run is not None, notify=_is_to_notify()
    )
    _header(words)
    login.require(words, settings)
    shelf = _shelf(settings)
    offered = _offered(words)
    _forget_unknown(offered)
    tasks.draw_tasks(words, offered)
    chosen = _chosen_form(words, offered)
    left, right = st.columns([5, 7], gap="medium")
    with left:
        edit_form = form.draw_form(words, session, chosen)
        session.values = widget_values.entered_values(experiment.id for experiment in offered)
        _begin_if_asked(session, shelf, edit_form)
    with right.container(key="workbench"):
        _workbench(words, session, shelf, edit_form)
    _expected(words, session, chosen, edit_form)


def _expected(words: Words, session: Session, chosen: Form, edit_form: EditForm) -> None:
    """The expected time, unless the edit would wait for others of this session."""
    if session.run is not None or not chosen.feature.available or edit_form.beside_button is None:
        return
    if edit_form.inputs and edit_form.options is not None:
        with edit_form.beside_button:
            expected.show_expected(words, session, edit_form)


def explain(error: Exception) -> bool:
    """Report a failure in the user's language.

    Drawn parts stay. Streamlit has logged it.
    """
    current().values = {}  # or what cannot be drawn would come back with each refresh
    words = _words()
    if isinstance(error, ImgeditError):
        errors.show_error(words, error)
    else:
        st.error(words("error.page"), icon=":material/error:")
    return True


def _come_back(settings: Settings) -> None:
    """Resume the tab's earlier session when its id is known, and restore its inputs."""
    session, owner, id = current(), login.owner(settings), components.visit()
    if id and id != session.id:
        found = catalogue.visits().find(owner, id)
        if found is not None and not session.id:
            found.come_back()
            session = take(found)
        session.id = id
    catalogue.visits().keep(owner, session.id, session)
    widget_values.restore_values(session.pending)
    session.pending = {}


def _browser(settings: Settings) -> str | None:
    """The id of the browser, where the gallery has no login to go by."""
    return components.browser() if settings.gallery and settings.login == "off" else None


def _shelf(settings: Settings) -> Shelf | None:
    """The visitor's part of the gallery."""
    return shelf_of(catalogue.gallery(), user=login.owner(settings), browser=_browser(settings) or "")


def _forget_unknown(offered: list[edit_pb2.Experiment]) -> None:
    """Drop choices that the catalogue no longer has.

    A result of long ago may have set them.
    """
    features: dict[str, set[str]] = {one.id: {feature.id for feature in one.features} for one in offered}
    if st.session_state.get("experiment") not in features:
        st.session_state.pop("experiment", None)
    for one in offered:
        key = tasks.feature_key(one)
        if st.session_state.get(key) not in features[one.id]:
            st.session_state.pop(key, None)


def _is_to_notify() -> bool:
    return bool(st.session_state.get("notify"))


def _words() -> Words:
    language = st.session_state.get("language", catalogue.configuration().language)
    return Words(cast("Language", language))


def _words_of_streamlit(words: Words) -> None:
    """Translate the few words that Streamlit has only in English.

    The style contains only our own texts.
    """
    texts = {name: f'"{words(f"uploader.{name}")}"' for name in ("button", "limit")}
    st.html(f"<style>:root{{--upload: {texts['button']}; --upload-limit: {texts['limit']}}}</style>")


def _header(words: Words) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="header"):
        with st.container(width="content", gap=None):
            st.title(words("title"), anchor=False)
            st.caption(words("subtitle"))
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            login.leave(words, catalogue.configuration())
            st.segmented_control(
                words("language"),
                list(LANGUAGES),
                default=words.language,
                required=True,
                format_func=lambda name: LANGUAGES[name],
                key="language",
                label_visibility="collapsed",
            )


def _offered(words: Words) -> list[edit_pb2.Experiment]:
    """The experiments; without any, stop the page with advice."""
    try:
        return catalogue.experiments()
    except ImgeditError as error:
        errors.show_error(words, error, title=words("error.no_server" if isinstance(error, TryLater) else "error.list"))
        st.button(words("error.again"), icon=":material/refresh:", key="retry")
        st.stop()


def _chosen_form(words: Words, offered: list[edit_pb2.Experiment]) -> Form:
    with st.container(horizontal=True, gap="medium", key="choice"):
        with st.container(width="content", gap="xsmall"):
            experiment = _experiment(words, offered)
        with st.container(width="content", gap="xsmall"):
            feature = _feature(words, experiment)
    if not feature.available:
        services = ", ".join(plain(words.named("service", name)) for name in experiment.unavailable_services)
        st.warning(words("unavailable", services=services), icon=":material/cloud_off:")
        _wait_for(experiment.id, feature.id)
    return Form(experiment, feature)


@st.fragment(run_every=LOOK_SECONDS)
def _wait_for(experiment: str, feature: str) -> None:
    """Redraw the page when the feature becomes available again."""
    if catalogue.is_available(experiment, feature):
        st.rerun()


def _experiment(words: Words, offered: list[edit_pb2.Experiment]) -> edit_pb2.Experiment:
    by_id = {experiment.id: experiment for experiment in offered}
    picked = st.segmented_control(
        words("experiment"),
        list(by_id),
        default=offered[0].id,
        required=True,
        format_func=lambda name: plain(by_id[name].name),
        key="experiment",
    )
    experiment = by_id.get(str(picked), offered[0])
    description = words.named("description", experiment.id)
    st.caption(plain(experiment.description) if description == experiment.id else description)
    return experiment


def _feature(words: Words, experiment: edit_pb2.Experiment) -> edit_pb2.Feature:
    features = {feature.id: feature for feature in experiment.features}
    picked = st.pills(
        words("feature"),
        list(features),
        default=experiment.features[0].id,
        required=True,
        format_func=lambda name: plain(tasks.feature_name(words, features[name])),
        key=tasks.feature_key(experiment),
        persist_state="session",
    )
    return features.get(str(picked), experiment.features[0])


def _begin_if_asked(session: Session, shelf: Shelf | None, edit_form: EditForm) -> None:
    if not edit_form.is_asked or edit_form.options is None:
        return
    if len(edit_form.inputs) == 1:
        _begin(session, shelf, tasks_of(edit_form.inputs[0], edit_form.options))
    else:
        _begin_batch(session, shelf, edit_form)


def _begin_batch(session: Session, shelf: Shelf | None, edit_form: EditForm) -> None:
    options = cast("EditOptions", {**(edit_form.options or {}), "preview_every": None})
    asked = options.get("output")
    output = asked if isinstance(asked, Output) else Output()
    options["output"] = replace(output, omit=("cutout", "mask"))
    if not session.has_room_for(edit_form.inputs, catalogue.configuration().upload_bytes_per_visit):
        session.refused = "line.room"
        return
    tasks = [Task(picture, options) for picture in edit_form.inputs]
    number = next(session.batch_numbers)
    _begin(session, shelf, tasks, batch=Batch(tasks, zip_name(str(options.get("feature")), _now(), number), number))


def _retry(session: Session, shelf: Shelf | None, batch: Batch, unfinished: list[Task]) -> None:
    """Begin these tasks of a batch again, unless that is refused."""
    session.refused = _refusal(session, unfinished)
    if session.refused is not None:
        st.rerun()
    _begin(session, shelf, batch.again(unfinished), batch=batch)


def _now() -> datetime:
    """The time on the visitor's clock."""
    return datetime.now(ZoneInfo(st.context.timezone or "UTC"))


def _begin_variants(session: Session, shelf: Shelf | None, result: Result) -> None:
    options = {**result.options, "seed": secrets.randbits(32), "n": results.VARIANTS}
    _begin(session, shelf, tasks_of(result.source, cast("EditOptions", options)), result.values)


def _begin(
    session: Session, shelf: Shelf | None, tasks: list[Task], entered: Values | None = None, batch: Batch | None = None
) -> None:
    """Start these edits, or put them in line, unless that is refused."""
    session.refused = _refusal(session, tasks)
    if session.refused is not None:
        st.rerun()
    for task in tasks:
        task.number = next(session.numbers)
        task.values = task.values or (session.values if entered is None else entered)
    keepers = [kept.keep for kept in (shelf, batch) if kept is not None]  # the batch drops the pictures
    session.begin(Job(Run(tasks, keepers), batch), catalogue.client(), catalogue.configuration().timeout)
    st.rerun()


def _refusal(session: Session, tasks: list[Task]) -> str | None:
    """Why these edits cannot join the line, as the key of a text.

    It is full, or has them already.
    """
    if len(session.line.waiting) >= MOST_WAITING:
        return "line.full"
    return "line.again" if any(job.asks_the_same_as(tasks) for job in session.line.jobs) else None


def _settle(session: Session) -> None:
    """Take over the results of the runs that have ended."""
    for job in session.line.take_ended():
        _take_over(session, job)


def _take_over(session: Session, job: Job) -> None:
    session.not_kept = next((task.not_kept for task in job.run.tasks if task.not_kept), session.not_kept)
    if job.batch is not None:
        session.drop_batch(job.batch)  # after a retry it is there already
        session.batches.insert(0, job.batch)
        session.shown_batch = job.batch
        return
    found = [task.result for task in job.run.tasks if task.result]
    failed = next((task for task in job.run.tasks if task.error), None)
    if failed is not None and failed.error is not None:
        if job.has_company:
            session.failures.append((failed.source.name, failed.error))
        else:
            session.failed, session.failed_options = failed.error, failed.options
    if found:
        session.shown, session.shown_batch = found[0], None
        session.variants = found if len(found) > 1 else []
        session.add(found, catalogue.configuration().history_bytes)


def _workbench(words: Words, session: Session, shelf: Shelf | None, edit_form: EditForm) -> None:
    """Draw one scroll target and one card, each replacing the previous one."""
    if edit_form.options != session.failed_options:
        session.failed = None  # the failed request differs from the current one
    show.show_not_kept(words, session)
    is_masking = cropping.show_cropping(words, session)
    is_masking = is_masking or repainted.show_mask(words, session, edit_form.masking, edit_form.options)
    line_card.show_failures(words, session)
    line_card.show_refusal(words, session)
    if session.run is not None:
        progress.show_progress(words, session, session.run)
        line_card.show_line(words, session)
        if session.is_looking:
            _displayed(words, session, shelf, edit_form, is_masking=is_masking)
    else:
        _outcome(words, session, shelf, edit_form, is_masking=is_masking)
    batch_list.show_batches(words, session)
    history.show_history(words, session)
    show.show_gallery(words, session, shelf)


def _outcome(words: Words, session: Session, shelf: Shelf | None, edit_form: EditForm, *, is_masking: bool) -> None:
    """What to look at while nothing runs, with its scroll target."""
    if session.shown_batch is not None:
        components.arrive(key=f"arrive-{max(task.number for task in session.shown_batch.tasks)}-batch")
    elif session.failed is not None:
        components.arrive(key=f"arrive-{id(session.failed)}")
        with st.container(key="failed"):
            errors.show_error(words, session.failed)
    elif session.shown is not None:
        components.arrive(key=f"arrive-{session.shown.number}")
    else:
        st.empty()
    _displayed(words, session, shelf, edit_form, is_masking=is_masking)


def _displayed(words: Words, session: Session, shelf: Shelf | None, edit_form: EditForm, *, is_masking: bool) -> None:
    """The displayed batch, else the result."""
    if session.shown_batch is not None:
        _batch(words, session, shelf, session.shown_batch)
    else:
        _result(words, session, shelf, edit_form, is_masking=is_masking)


def _batch(words: Words, session: Session, shelf: Shelf | None, batch: Batch) -> None:
    with st.container(border=True, key="card-result"):
        st.header(words("batch"), anchor=False)
        again = batch_results.show_results(words, session, batch)
    if again:
        _retry(session, shelf, batch, again)


def _result(words: Words, session: Session, shelf: Shelf | None, edit_form: EditForm, *, is_masking: bool) -> None:
    """The current result, or else the input, unless its mask is displayed."""
    if session.shown is None:
        if not is_masking:
            _nothing_yet(words, edit_form)
        return
    with st.container(border=True, key="card-result"):
        is_again = results.show_result(words, session, shelf, session.shown)
    if is_again:
        _begin_variants(session, shelf, session.shown)


def _nothing_yet(words: Words, edit_form: EditForm) -> None:
    with st.container(border=True, key="empty"):
        if len(edit_form.inputs) == 1:
            picture = edit_form.inputs[0]
            components.still(picture.view, alt=words("picture.alt"), key="picture")
            st.caption(words("picture.size", width=picture.width, height=picture.height, kind=picture.kind))
        else:
            st.header(words("empty.title"), anchor=False)
            st.markdown(words("empty.text" if edit_form.takes_prompt else "empty.no_prompt"))
