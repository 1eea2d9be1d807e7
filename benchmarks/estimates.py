"""Estimates from few measurements: robust slopes, and exponents with intervals."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5% quantiles of Student's t for 1 to 10 degrees of freedom; the last serves for more, a little too wide."""

MAX_POINTS = 400
"""Of a robust slope, whose work grows by the square: longer series are thinned evenly."""


@dataclass(frozen=True)
class Exponent:
    """`y` grows as `factor` times `x` to the `exponent`; 95% interval of the exponent.

    low, high: None with fewer than three points.
    """

    exponent: float
    low: float | None
    high: float | None
    factor: float


def quantile_975(freedom: float) -> float:
    """Student's t for this many degrees of freedom, 1 or more."""
    return T_975[min(int(freedom), len(T_975)) - 1]


def robust_slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The median of the slopes between all pairs of points (Theil 1950, Sen 1968).

    Raises ValueError without two different xs.
    """
    every = math.ceil(len(xs) / MAX_POINTS)
    points = list(zip(xs, ys, strict=True))[::every] if xs else []
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(points, 2) if b[0] != a[0]]
    if not slopes:
        raise ValueError("a slope needs points at two different places")
    return statistics.median(slopes)


def exponent(xs: Sequence[float], ys: Sequence[float]) -> Exponent:
    """Fit log y to log x by least squares. Raises ValueError for values of 0 or less."""
    if min(*xs, *ys) <= 0 or len(set(xs)) < 2:
        raise ValueError(f"an exponent needs values above 0 at two different places: {list(zip(xs, ys, strict=True))}")
    logs = [math.log(x) for x in xs], [math.log(y) for y in ys]
    slope, intercept = statistics.linear_regression(*logs)
    factor, freedom = math.exp(intercept), len(xs) - 2
    if freedom < 1:
        return Exponent(slope, None, None, factor)
    left = sum((y - intercept - slope * x) ** 2 for x, y in zip(*logs, strict=True))
    middle = statistics.fmean(logs[0])
    error = math.sqrt(left / freedom / sum((x - middle) ** 2 for x in logs[0]))
    margin = quantile_975(freedom) * error
    return Exponent(slope, slope - margin, slope + margin, factor)
