"""Turns: round robin over callers, a limit for each, and an end without waiters."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from imgedit.imaging.turns import Turns


def held(gate: threading.Event) -> Callable[[], None]:
    return lambda: gate.wait(30) or None


def test_callers_take_turns_however_much_one_of_them_asks_for() -> None:
    turns, gate, order = Turns(1, 1, "test"), threading.Event(), []
    turns.submit("first", held(gate))
    greedy = [turns.submit("greedy", lambda: order.append("greedy")) for _ in range(20)]
    modest = [turns.submit(caller, lambda caller=caller: order.append(caller)) for caller in ("a", "b")]
    gate.set()
    for result in (*greedy, *modest):
        result.result(30)
    assert order[:4] == ["greedy", "a", "b", "greedy"]
    turns.close()


def test_one_caller_never_has_all_threads() -> None:
    turns, gate = Turns(2, 1, "test"), threading.Event()
    waiting = [turns.submit("greedy", held(gate)) for _ in range(5)]
    assert turns.submit("modest", lambda: 7).result(30) == 7
    assert not any(result.done() for result in waiting)
    gate.set()
    for result in waiting:
        result.result(30)
    turns.close()


def test_work_that_was_cancelled_is_passed_over_and_a_failure_reaches_its_caller() -> None:
    turns, gate, done = Turns(1, 1, "test"), threading.Event(), []
    turns.submit("a", held(gate))
    dropped, failed = turns.submit("a", lambda: done.append(1)), turns.submit("b", lambda: 1 // 0)
    assert dropped.cancel()
    gate.set()
    with pytest.raises(ZeroDivisionError):
        failed.result(30)
    assert turns.submit("a", lambda: 5).result(30) == 5
    assert not done
    turns.close()


def test_the_end_cancels_what_waits() -> None:
    turns, gate = Turns(1, 1, "test"), threading.Event()
    running, waiting = turns.submit("a", held(gate)), turns.submit("b", lambda: None)
    while not running.running():
        gate.wait(0.01)
    closing = threading.Thread(target=turns.close)
    closing.start()
    gate.set()
    closing.join(30)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="closed"):
        turns.submit("a", lambda: None)
