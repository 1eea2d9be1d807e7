"""Which visits are kept for a browser that comes back, how long, and for whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from streamlit.proto.Common_pb2 import FileURLs
from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec

from imgedit.v1 import edit_pb2
from studio import session as session_module
from studio import visits as visits_module
from studio import widget_values
from studio.input_images import InputImage
from studio.runs import Result
from studio.session import Session
from studio.visits import Visits

FIRST, SECOND = "a" * 32, "b" * 32


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


STUDIO = Path(widget_values.__file__).parent


def holding(count: int) -> Session:
    """A visit whose input takes `count` bytes."""
    session = Session()
    session.inputs = [InputImage("a.png", b"x" * count, 1, 1, "PNG", b"", b"")]
    return session


def test_a_visit_is_found_by_its_id_and_its_owner_alone() -> None:
    visits, session = Visits(60, 1000), Session()
    visits.keep("kim", FIRST, session)
    assert visits.find("kim", FIRST) is session
    assert visits.find("lee", FIRST) is None
    assert visits.find("", FIRST) is None
    assert visits.find("kim", SECOND) is None


def test_a_visit_is_kept_for_a_time_after_its_last_use() -> None:
    clock = Clock()
    visits, session = Visits(60, 1000, clock), Session()
    visits.keep("", FIRST, session)
    clock.now = 50
    visits.keep("", FIRST, session)
    clock.now = 100
    assert visits.find("", FIRST) is session
    clock.now = 111
    assert visits.find("", FIRST) is None


def test_the_longest_unused_goes_when_all_together_take_too_much() -> None:
    visits = Visits(60, 1000)
    first, second = holding(600), holding(600)
    visits.keep("", FIRST, first)
    visits.keep("", SECOND, second)
    assert visits.find("", FIRST) is None
    assert visits.find("", SECOND) is second


def test_the_longest_unused_go_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits_module, "MAX_VISITS", 3)
    visits, ids = Visits(60, 1000), [f"{number:032x}" for number in range(5)]
    for id in ids:
        visits.keep("", id, Session())
    assert [visits.find("", id) is not None for id in ids] == [False, False, True, True, True]


def test_a_visit_that_is_too_large_by_itself_is_not_kept() -> None:
    visits = Visits(60, 1000)
    visits.keep("", FIRST, holding(1001))
    assert visits.find("", FIRST) is None


def test_nothing_is_kept_where_the_setting_says_so_or_no_page_of_ours_made_the_id() -> None:
    off, on = Visits(0, 1000), Visits(60, 1000)
    off.keep("", FIRST, Session())
    assert off.find("", FIRST) is None
    for id in ("", "a", "A" * 32, "a" * 33, f"{'a' * 31}\n"):
        on.keep("", id, Session())
        assert on.find("", id) is None


def test_a_visit_that_comes_back_has_its_uploads_as_chosen_pictures_and_its_values_to_enter() -> None:
    session = holding(10)
    session.values = {"prompt": "a gym"}
    session.mask = b"mask"
    result_in_view = session.shown
    session.come_back()
    session.hold(session.chosen)
    assert session.chosen[0].data == b"x" * 10
    assert session.kept_mask == b"mask"
    assert session.pending == {"prompt": "a gym"}
    assert session.shown is result_in_view


def test_a_picture_counts_once_and_an_upload_that_is_put_aside_counts_too() -> None:
    session = holding(600)
    session.come_back()
    session._opened = {"upload": session.inputs[0], "another": holding(300).inputs[0]}
    assert session.byte_count == 900
    session.mask, session.kept_mask = b"m" * 50, b"k" * 7
    assert session.byte_count == 957


def test_results_count_wherever_a_visit_still_shows_them() -> None:
    session, results = Session(), [result_of(holding(100).inputs[0]) for _ in range(3)]
    each = results[0].byte_count
    session.add(results[:2], limit=1)  # of which the history keeps one
    session.variants, session.shown = results[:2], results[2]
    assert len(session.history) == 1
    assert session.byte_count == 3 * each


def test_uploads_that_are_remembered_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MAX_REMEMBERED_BYTES", 250)
    monkeypatch.setattr(session_module, "_open", lambda upload, _visit: holding(len(upload.getvalue())).inputs[0])
    session = Session()
    for number in range(4):
        session.opened(uploaded(f"{number}", 100))
    assert list(session._opened) == ["2", "3"]
    session.opened(uploaded("large", 300))
    assert list(session._opened) == ["large"]


def result_of(source: InputImage) -> Result:
    answer = edit_pb2.EditResponse(output_image=b"y" * 100)
    return Result(1, source, {"experiment": "x"}, answer, before=b"b", after=b"a", thumb=b"", cutout=None, mask=None)


def uploaded(id: str, size: int) -> UploadedFile:
    return UploadedFile(UploadedFileRec(id, "a.png", "image/png", bytes(size)), FileURLs())


def test_no_value_of_a_widget_that_cannot_be_set_is_entered_again() -> None:
    """Setting one ends the drawing of the page after each refresh."""
    fixed = ("button", "download_button", "expander", "file_uploader")
    keys = [
        ast.literal_eval(ast.unparse(keyword.value).removeprefix("form.key(").removesuffix(")"))
        for path in STUDIO.glob("*.py")
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in fixed
        for keyword in call.keywords
        if keyword.arg == "key"
        and isinstance(keyword.value, ast.Call)
        and ast.unparse(keyword.value.func) == "form.key"
    ]
    assert {"mask-ask", "mask-file", "negative"} <= set(keys)
    own = ("an_experiment-",)
    assert [key for key in keys if widget_values._is_of_the_form(f"an_experiment-a_feature-{key}", own)] == []
