"""The demo's checkpoints really edit.

A few held-out scenes of the rows of `benchmarks.demo_quality`.

Few scenes scatter, so the thresholds are below the table's (docs/demo.md).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.demo_quality.bench import Bench
from benchmarks.demo_quality.fill import FillEdits, cut_out, fast, languages, outpainting
from demo.judge import Judge
from imgedit import SyncEditClient
from tests.demo_stack import DemoStack

pytestmark = pytest.mark.slow

SCENES = 4


@pytest.fixture(scope="module")
def edits(demo_stack: DemoStack) -> Iterator[FillEdits]:
    with SyncEditClient(demo_stack.target) as client:
        yield FillEdits(Bench(client, demo_stack.ports.address("qwen_edit"), Judge(), SCENES))


def test_ben2_finds_the_person(edits: FillEdits) -> None:
    (row,) = cut_out(edits)
    assert row.value >= 0.94


def test_the_background_becomes_the_one_asked_for_in_korean(edits: FillEdits) -> None:
    assert not edits.bench.refused
    assert sum(edits.right_places(edits.balanced)) >= SCENES - 1


def test_the_person_stays_pixel_for_pixel(edits: FillEdits) -> None:
    for (_, original), edit in zip(edits.bench.originals, edits.balanced, strict=True):
        assert edit is not None
        kept = edit.mask_alpha == 0
        assert kept.mean() > 0.03
        assert np.array_equal(edit.rgb[kept], original.rgb[kept])


def test_the_model_was_shown_the_right_english(edits: FillEdits) -> None:
    said = [edit.prompt if edit else "" for edit in edits.balanced]
    assert sum(seen == first.english for seen, (_, first, _) in zip(said, edits.wanted, strict=True)) >= SCENES - 1


def test_english_in_other_words_gives_the_same_kind_of_place(edits: FillEdits) -> None:
    rows = {row.measure: row.value for row in languages(edits)}
    assert rows["same class of result"] >= 75
    assert rows["held-out phrases translated right"] >= 75


def test_a_picture_goes_on_at_its_side_without_a_seam_and_with_the_thing_asked_for(edits: FillEdits) -> None:
    rows = {row.measure: row.value for row in outpainting(edits)}
    assert rows["the thing asked for is in the extension"] >= 75
    assert rows["seam not above the scene's own gradient"] >= 75


def test_the_fast_profile_needs_7_of_23_passes_and_paints_the_place_too(edits: FillEdits) -> None:
    rows = {row.measure: row for row in fast(edits)}
    assert rows["share of the transformer's passes"].value == pytest.approx(7 / 23)
    assert sum(edits.right_places(edits.fast)) >= SCENES - 1
