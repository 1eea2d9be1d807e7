"""Which tokens a mask asks for, and which settings region steps do not go with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgedit.errors import FailedPrecondition, InvalidArgument, SettingsError
from imgedit.v1 import profile_pb2
from services.diffusion.job_requests import Profiles
from services.diffusion.networks.runtime_options import runtime_of
from services.diffusion.networks.token_region import BUCKETS, TOKEN_PX, tokens_of
from services.fill.settings import FillSettings

FAST, BALANCED, HIGH = profile_pb2.PROFILE_FAST, profile_pb2.PROFILE_BALANCED, profile_pb2.PROFILE_HIGH


def mask_of(rows: int, columns: int, *touched: tuple[int, int]) -> np.ndarray:
    """A mask with one pixel of weight 1 within each of these tokens."""
    mask = np.zeros((rows * TOKEN_PX, columns * TOKEN_PX), np.uint8)
    for row, column in touched:
        mask[row * TOKEN_PX + 15, column * TOKEN_PX] = 1
    return mask


def settings(**changes: Any) -> FillSettings:
    return FillSettings(models=Path("/models"), device="cpu", **changes)


def test_a_token_is_asked_for_by_any_pixel_of_its_square() -> None:
    assert tokens_of(mask_of(4, 4, (1, 2)), rim=0).tolist() == [6]


def test_a_rim_surrounds_it_on_all_sides() -> None:
    assert tokens_of(mask_of(3, 3, (1, 1)), rim=1).tolist() == list(range(9))
    assert tokens_of(mask_of(4, 4, (0, 0)), rim=1).tolist() == [0, 1, 4, 5]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 3), st.data())
def test_regions_hold_the_mask_and_have_few_sizes(rows: int, columns: int, rim: int, data: st.DataObject) -> None:
    places = st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1))
    touched = data.draw(st.lists(places, min_size=1, max_size=6))
    tokens = tokens_of(mask_of(rows, columns, *touched), rim)
    assert {row * columns + column for row, column in touched} <= set(tokens.tolist())
    assert np.array_equal(tokens, np.unique(tokens))
    step = -(-rows * columns // BUCKETS)
    assert len(tokens) % step == 0 or len(tokens) == rows * columns


def test_what_does_not_go_with_region_steps_is_named() -> None:
    assert runtime_of(settings(region_steps=True)).region_steps
    assert runtime_of(settings(region_steps=True, attention="native")).region_steps
    with pytest.raises(SettingsError, match=r"IMGEDIT_FILL_REGION_STEPS.*IMGEDIT_FILL_ATTENTION=flash"):
        runtime_of(settings(region_steps=True, attention="flash"))
    with pytest.raises(SettingsError, match=r"IMGEDIT_FILL_STEP_CACHE_THRESHOLD=0\.08"):
        runtime_of(settings(region_steps=True, step_cache_threshold=0.08))


def test_compiled_blocks_go_with_region_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "true")
    runtime = runtime_of(settings(region_steps=True, compile="regional"))
    assert (runtime.region_steps, runtime.compile) == (True, "regional")


def test_profiles_take_region_steps_where_they_are_turned_on_and_high_never_does() -> None:
    on, off = Profiles.from_settings(settings(region_steps=True)), Profiles.from_settings(settings())
    assert [on.region_steps(profile, None) for profile in (FAST, BALANCED, HIGH)] == [True, True, False]
    assert not any(off.region_steps(profile, None) for profile in (FAST, BALANCED, HIGH))
    assert [on.region_steps(BALANCED, asked) for asked in (True, False)] == [True, False]
    assert not off.region_steps(BALANCED, asked=False)
    with pytest.raises(FailedPrecondition, match="REGION_STEPS"):
        off.region_steps(BALANCED, asked=True)
    with pytest.raises(InvalidArgument, match="high"):
        on.region_steps(HIGH, asked=True)
