"""The deadline of a call, as it is handed on to others."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from services.common.call_context import LONGEST_SECONDS, deadline_of


@pytest.mark.parametrize("remaining", [1e9, 3.6e11, float("inf")])
def test_a_deadline_in_centuries_is_one_that_can_be_handed_on(remaining: float) -> None:
    context: Any = SimpleNamespace(time_remaining=lambda: remaining)
    deadline = deadline_of(context)
    assert deadline is not None
    assert 0 < deadline - time.monotonic() <= LONGEST_SECONDS
