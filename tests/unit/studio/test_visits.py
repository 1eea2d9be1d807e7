"""Which visits are kept for a browser that comes back, how long, and for whom."""

from __future__ import annotations

from studio.input_images import InputImage
from studio.session import Session
from studio.visits import Visits

FIRST, SECOND = "a" * 32, "b" * 32


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


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
