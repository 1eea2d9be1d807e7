"""Checks that every servicer shares."""

import pytest

from imgedit.errors import InvalidArgument
from services.common import checks


@pytest.mark.parametrize(
    ("value", "shown"),
    [(2**31 - 1, "2147483647"), (-1, "-1"), (0.5, "0.5"), (float("nan"), "nan"), (float("-inf"), "-inf")],
)
def test_a_number_out_of_range_is_named_in_full(value: float, shown: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"steps: must be 1 to 100, is {shown}$"):
        checks.number("steps", value, 1, 100)


@pytest.mark.parametrize("value", [1, 100, 1.5])
def test_a_number_in_range_passes(value: float) -> None:
    checks.number("steps", value, 1, 100)
