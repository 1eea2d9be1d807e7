"""The rows of the demo's benchmark count rightly.

With a painter that does what is asked, or nothing, or refuses.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np
import pytest

from benchmarks.demo_quality import qwen
from benchmarks.demo_quality.__main__ import ROWS
from benchmarks.demo_quality.bench import Asked, Bench, png
from benchmarks.demo_quality.qwen_tasks import TASKS
from demo import world
from demo.judge import Judge
from imgedit.errors import InvalidArgument
from imgedit.v1 import edit_pb2

pytestmark = pytest.mark.slow

SCENES = 2
COUNTED = (*TASKS, "qwen-languages", "qwen-fast", "qwen-seconds")


class Painter:
    """Responds like the client with `painted[picture, prompt]`, else with the input.

    For another place it paints a gym; one that `avoids` paints a plain wall for a negative prompt.
    """

    def __init__(
        self, painted: dict[tuple[bytes, str], bytes] | None = None, *, refuses: bool = False, avoids: bool = False
    ) -> None:
        self.painted, self.refuses, self.avoids = painted or {}, refuses, avoids

    def edit(self, image: bytes, *, prompt: str, **options: Any) -> edit_pb2.EditResponse:
        if self.refuses:
            raise InvalidArgument("no")
        if prompt == qwen.VAGUE:
            place = ("plain", "red") if self.avoids and "negative_prompt" in options else ("gym", "")
            image = png(world.render(world.Scene(128, 128, None, world.Background(*place, 1), ())).rgb)
        shown = self.painted.get((image, prompt), image)
        blank = png(np.zeros((256, 256), np.uint8))
        time.sleep(0.02 * (int(options["seed"]) % 2))  # so that answers come out of order
        return edit_pb2.EditResponse(
            output_image=shown,
            mask_image=blank,
            background_removed_image=blank,
            elapsed_time=1.5,
            effective=edit_pb2.EffectiveParameters(prompt=prompt),
        )


def bench(painter: Painter, *, scenes: int = SCENES, side_by_side: int = 1) -> Bench:
    return Bench(painter, "", Judge(), scenes, side_by_side=side_by_side)  # type: ignore[arg-type]


@functools.cache
def drawn_truths() -> dict[tuple[bytes, str], bytes]:
    edits = qwen.QwenEdits(bench(Painter()))
    return {
        (png(world.render(edits.case(name, number).scene).rgb), phrase): png(
            world.render(edits.case(name, number).truth).rgb
        )
        for name in TASKS
        for number in range(SCENES)
        for phrase in (edits.asked(name, number).prompt, edits.asked(name, number, "english").prompt)
    }


def test_a_painter_that_does_what_is_asked_reaches_every_target():
    edits = qwen.QwenEdits(bench(Painter(drawn_truths())))
    rows = [row for name in COUNTED for row in qwen.ROWS[name](edits)]
    assert [row.measure for row in rows if not row.reached] == []


def test_a_change_where_the_mask_says_that_there_is_none_is_found():
    (row,) = qwen.ROWS["untouched"](qwen.QwenEdits(bench(Painter(drawn_truths()))))
    assert row.value == 0


def test_a_painter_that_changes_nothing_reaches_no_task_but_leaves_the_background():
    edits = qwen.QwenEdits(bench(Painter()))
    assert {row.value for name in TASKS for row in qwen.ROWS[name](edits)} == {0}
    assert [row.value for row in qwen.ROWS["untouched"](edits)] == [100]


def test_what_is_refused_counts_as_failed_and_is_kept():
    refusing = bench(Painter(refuses=True))
    edits = qwen.QwenEdits(refusing)
    rows = [*qwen.ROWS["scene"](edits), *qwen.ROWS["appearance"](edits)]
    assert {row.value for row in rows} == {0}
    assert len(refusing.refused) == 2 * SCENES


@pytest.mark.parametrize(("avoids", "with_it"), [(True, "0.0%"), (False, "100.0%")])
def test_a_place_that_is_named_to_be_avoided_should_come_less_often(avoids, with_it):
    (row,) = qwen.ROWS["negative"](qwen.QwenEdits(bench(Painter(avoids=avoids), scenes=24)))
    assert row.measure == f"places named come at {with_it} with it, 100.0% without: less"
    assert row.reached == avoids


def test_edits_side_by_side_come_back_in_their_order():
    asked = [Asked(np.full((2, 2, 3), number, np.uint8), "x", {"seed": number + 1}) for number in range(6)]
    edits = list(bench(Painter(), side_by_side=3).edits("title", "experiment", asked))
    assert [edit.rgb[0, 0, 0] for edit in edits if edit] == list(range(6))


@pytest.mark.parametrize("name", [*TASKS])
def test_every_wording_of_a_task_has_its_turn(name):
    edits = qwen.QwenEdits(bench(Painter()))
    assert edits.asked(name, 0).prompt == edits.case(name, 0).phrases[0].korean
    assert edits.asked(name, 1, "english").prompt in [phrase.english for phrase in edits.case(name, 1).phrases]


def test_every_row_has_a_name_of_its_own():
    assert len(set(ROWS)) == len(ROWS)
    assert {"cut-out", "background", "seconds", *TASKS} <= set(ROWS)
