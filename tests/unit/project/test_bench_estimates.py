"""The arithmetic of the soak and of scaling."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from benchmarks.estimates import exponent, robust_slope
from benchmarks.soak import requests
from benchmarks.soak.doors import OPENAI_REASONS
from benchmarks.soak.flat import TOLERANCES, growth
from benchmarks.soak.outcomes import CLEAR, Ended, table
from imgedit.errors import by_reason

MIB = 2**20


def test_a_robust_slope_ignores_a_third_of_wild_points() -> None:
    xs = list(range(60))
    ys = [2.0 * x + (1e6 if x % 3 == 0 else 0.0) for x in xs]
    assert robust_slope(xs, [2.0 * x for x in xs]) == pytest.approx(2.0)
    assert abs(robust_slope(xs, ys) - 2.0) < 1.0
    with pytest.raises(ValueError, match="two different places"):
        robust_slope([1.0, 1.0], [1.0, 2.0])


def test_a_long_series_keeps_its_slope_when_it_is_thinned() -> None:
    assert robust_slope(list(range(5000)), [3.0 * x for x in range(5000)]) == pytest.approx(3.0)


def test_an_exponent_is_found_with_its_interval() -> None:
    xs = [0.25, 1.0, 4.0, 12.0, 25.0]
    fit = exponent(xs, [5 * x**1.5 for x in xs])
    assert fit.exponent == pytest.approx(1.5)
    assert fit.factor == pytest.approx(5)
    assert fit.low == pytest.approx(1.5)
    noisy = exponent(xs, [5 * x**1.5 * (1.1 if n % 2 else 1 / 1.1) for n, x in enumerate(xs)])
    assert noisy.low is not None
    assert noisy.high is not None
    assert noisy.low < 1.5 < noisy.high
    assert exponent([1, 2], [3, 6]).low is None
    with pytest.raises(ValueError, match="above 0"):
        exponent([1, 2], [0, 1])


def test_a_leak_grows_and_noise_does_not() -> None:
    dice = random.Random(1)
    times = [5.0 * n for n in range(300)]
    level = [400 * MIB + dice.uniform(-20, 20) * MIB for _ in times]
    leak = [value + 100 * MIB * at / times[-1] for value, at in zip(level, times, strict=True)]
    assert growth("fill", "resident", times, level).is_flat
    assert growth("fill", "resident", times, leak[::-1]).is_flat
    found = growth("fill", "resident", times, leak)
    assert not found.is_flat
    assert found.growth == pytest.approx(100 * MIB, rel=0.2)
    assert not growth("edge", "descriptors", times, [30 + n // 30 for n in range(300)]).is_flat
    assert TOLERANCES["threads"].of(10) == 2
    assert TOLERANCES["threads"].of(100) == 5


def test_only_what_was_promised_is_no_fault() -> None:
    ends = [
        Ended("edit", "result", 1.0),
        Ended("edit", "QUEUE_FULL", 1.0),
        Ended("edit", "INTERNAL", 1.0),
        Ended("edit", "lost", 1.0),
        Ended("bad", "result", 1.0, frozenset({"IMAGE_REJECTED"})),
        Ended("bad", "IMAGE_REJECTED", 1.0, frozenset({"IMAGE_REJECTED"})),
    ]
    assert [one.is_fault for one in ends] == [False, False, True, True, True, False]
    assert {(row["end"], row["fault"]) for row in table(ends) if row["kind"] == "bad"} == {
        ("result", True),
        ("IMAGE_REJECTED", False),
    }


def test_every_reason_that_the_soak_expects_is_one_of_the_errors() -> None:
    expected = set(itertools.chain(CLEAR, OPENAI_REASONS.values(), *(bad.reasons for bad in requests.BAD.values())))
    assert expected <= set(by_reason())


def test_each_fault_of_a_request_changes_it() -> None:
    dice = random.Random(1)
    for name, bad in requests.BAD.items():
        request = requests.painting([b"a picture of some bytes"], dice)
        before = request.SerializeToString()
        bad.spoil(request)
        assert request.SerializeToString() != before, name
    assert not math.isnan(requests.painting([b"x"], dice).guidance_scale)
