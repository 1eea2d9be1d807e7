"""The rows about `ben2_qwen_image`.

Every edit by instruction, in two languages, fast, guided and kept back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from benchmarks.demo_quality.bench import TIMED, Asked, Bench, Edited, Row, is_untouched, mean, median, png, share
from benchmarks.demo_quality.qwen_tasks import TASKS, Case, Task
from demo import world
from demo.judge import Judge, measures
from demo.world import prompts

EXPERIMENT = "ben2_qwen_image"
MAX_REST_CHANGE = 0.03
DEFAULT_GUIDANCE = 3.5
GUIDANCES = (1.0, DEFAULT_GUIDANCE, 7.0)
GUIDED = tuple(TASKS)
VAGUE = "배경 변경"

Language = Literal["korean", "english"]


@dataclass(frozen=True)
class Outcome:
    """The result of a case.

    seen: its content, "" if refused. rest_change: mean change outside the shirt; is_untouched: whether every pixel of
    mask alpha 0 is unchanged. Both None if not measured, or if the edit was refused.
    """

    wanted: str
    seen: str
    rest_change: float | None = None
    is_untouched: bool | None = None

    @property
    def is_right(self) -> bool:
        """Whether it shows the requested change."""
        return self.seen == self.wanted


@dataclass
class QwenEdits:
    """Edits that several rows look at, each made once.

    Of a result only its outcome is kept.
    """

    bench: Bench
    _outcomes: dict[tuple[object, ...], list[Outcome]] = field(default_factory=dict)

    def case(self, name: str, number: int) -> Case:
        """The case of a task that is made of one scene."""
        return TASKS[name].case(self.bench.originals[number][0], self.bench.rng(number, name))

    def asked(self, name: str, number: int, language: Language = "korean", **options: Any) -> Asked:
        """The case as an edit request.

        The prompts of a task take turns.
        """
        case = self.case(name, number)
        phrase = case.phrases[number % len(case.phrases)]
        prompt = phrase.korean if language == "korean" else phrase.english
        references = [png(world.render(case.reference).rgb)] if case.reference else []
        fields = {"feature": TASKS[name].feature, "seed": number, "references": references, **options}
        return Asked(world.render(case.scene).rgb, prompt, fields)

    def outcomes(self, name: str, language: Language = "korean", **options: Any) -> list[Outcome]:
        """The results of a task's cases with these options."""
        key = (name, language, *sorted(options.items()))
        if key not in self._outcomes:
            title = ", ".join([name, language, *(f"{option} {value}" for option, value in options.items())])
            numbers = range(self.bench.scenes)
            asked = [self.asked(name, number, language, **options) for number in numbers]
            made = zip(numbers, asked, self.bench.edits(title, EXPERIMENT, asked), strict=True)
            self._outcomes[key] = [
                outcome(self.bench.judge, TASKS[name], self.case(name, number), request, edit)
                for number, request, edit in made
            ]
        return self._outcomes[key]

    def right(self, name: str, language: Language = "korean", **options: Any) -> list[bool]:
        """Whether each result shows the requested change."""
        return [outcome.is_right for outcome in self.outcomes(name, language, **options)]


def outcome(judge: Judge, task: Task, case: Case, asked: Asked, edit: Edited | None) -> Outcome:
    """Judge one result."""
    if edit is None:
        return Outcome(case.wanted, "")
    return Outcome(
        wanted=case.wanted,
        seen=task.seen(judge, case, edit.rgb),
        rest_change=measures.rest_change(edit.rgb, asked.picture, case.truth) if task is TASKS["appearance"] else None,
        is_untouched=is_untouched(edit, asked.picture) if task.keeps_background else None,
    )


def agreement(name: str, edits: QwenEdits) -> Iterator[Row]:
    """The success rate of a kind of edit."""
    right, task = edits.right(name), TASKS[name]
    yield Row(name, task.measure, share(right), task.least, count=len(right))


def appearance(edits: QwenEdits) -> Iterator[Row]:
    """Another colour of the shirt, and of nothing else."""
    yield from agreement("appearance", edits)
    good = [
        made.is_right and made.rest_change is not None and made.rest_change < MAX_REST_CHANGE
        for made in edits.outcomes("appearance")
    ]
    measure = f"the same, and the rest changes by less than {MAX_REST_CHANGE:.0%}"
    yield Row("appearance", measure, share(good), TASKS["appearance"].least, count=len(good))


def languages(edits: QwenEdits) -> Iterator[Row]:
    """The same edits asked for in Korean and in English, every wording of every task."""
    for name in TASKS:
        pairs = zip(edits.outcomes(name), edits.outcomes(name, "english"), strict=True)
        same = [korean.seen == english.seen != "" for korean, english in pairs]
        yield Row("Korean and English", f"same class of result: {name}", share(same), 95, count=len(same))


def untouched(edits: QwenEdits) -> Iterator[Row]:
    """Pixels outside the person are unchanged if the background is kept."""
    tasks = [name for name, task in TASKS.items() if task.keeps_background]
    checked = [made.is_untouched for name in tasks for made in edits.outcomes(name)]
    same = [is_same for is_same in checked if is_same is not None]
    yield Row("background kept", "pixels of mask alpha 0 are the picture's", share(same), 100, count=len(same))


def fast(edits: QwenEdits) -> Iterator[Row]:
    """The fast profile against the balanced one."""
    for name in TASKS:
        loss = share(edits.right(name)) - share(edits.right(name, profile="fast"))
        count = edits.bench.scenes
        yield Row("fast against balanced", f"points lost: {name}", loss, 5, at_most=True, count=count)


def guidance(edits: QwenEdits) -> Iterator[Row]:
    """Whether more guidance raises the success rate, on average over tasks and raises."""
    shares = []
    for scale in GUIDANCES:
        options: dict[str, Any] = {} if scale == DEFAULT_GUIDANCE else {"guidance_scale": scale}
        shares.append(mean([share(edits.right(name, **options)) for name in GUIDED]))
    measure = "right " + ", ".join(f"{percent:.1f}%" for percent in shares) + f" at {GUIDANCES}: more at the end"
    yield Row("guidance", measure, float(shares[-1] > shares[0]), 1, "", count=len(GUIDED) * edits.bench.scenes)


def negative(edits: QwenEdits) -> Iterator[Row]:
    """Whether a negative prompt makes its place rarer for a vague request.

    Each scene avoids one place, never its own. Summed over the places: the share that shows the place, among results
    that avoid it, and among those without a negative prompt.
    """
    bench, kinds = edits.bench, [scene.background.kind for scene, _ in edits.bench.originals]
    named = [kind for kind in world.BACKGROUNDS if kind != "plain"]
    avoided = [
        bench.rng(number, "avoided").choice([place for place in named if place != kind])
        for number, kind in enumerate(kinds)
    ]
    free = _vague(bench, "no negative prompt", [{} for _ in kinds])
    kept = _vague(bench, "negative prompt", [{"negative_prompt": prompts.place(place).korean} for place in avoided])
    places = sorted(set(avoided))
    before = sum(
        share([seen == place for seen, kind in zip(free, kinds, strict=True) if kind != place]) for place in places
    )
    after = sum(
        share([seen == place for seen, no in zip(kept, avoided, strict=True) if no == place]) for place in places
    )
    measure = f"places named come at {after:.1f}% with it, {before:.1f}% without: less"
    yield Row("negative prompt", measure, float(after < before), 1, "", count=len(kinds))


def seconds(edits: QwenEdits) -> Iterator[Row]:
    """The duration of a balanced edit, over the tasks in turn."""
    numbers = range(min(TIMED, edits.bench.scenes))
    asked = [edits.asked(tuple(TASKS)[number % len(TASKS)], number) for number in numbers]
    taken = edits.bench.seconds("by instruction", EXPERIMENT, asked)
    yield Row(
        "time per edit by instruction", "median seconds, balanced, 256 px", median(taken), 8, "s",
        at_most=True, count=len(taken),
    )  # fmt: skip


ROWS: dict[str, Callable[[QwenEdits], Iterator[Row]]] = {
    "appearance": appearance,
    **{name: partial(agreement, name) for name in TASKS if name != "appearance"},
    "qwen-languages": languages,
    "untouched": untouched,
    "qwen-fast": fast,
    "guidance": guidance,
    "negative": negative,
    "qwen-seconds": seconds,
}


def _vague(bench: Bench, title: str, options: Sequence[dict[str, Any]]) -> list[str]:
    """The place that each scene comes to be in that should be in just another one."""
    asked = [
        Asked(original.rgb, VAGUE, {"feature": "semantic_editing", "seed": number, **option})
        for number, ((_, original), option) in enumerate(zip(bench.originals, options, strict=True))
    ]
    made = bench.edits(title, EXPERIMENT, asked)
    return [bench.judge.places([edit.rgb])[0] if edit else "" for edit in made]
