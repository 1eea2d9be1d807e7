"""The rows about `ben2_flux_fill`: cut-out, backgrounds, outpainting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import grpc
import numpy as np
from rich.progress import track

from benchmarks.demo_quality.bench import Asked, Bench, Edited, Row, console, is_untouched, mean, median, share
from demo import world
from demo.judge import place_of
from demo.world import prompts
from imgedit import Outpaint
from imgedit.channels import proxy_options
from imgedit.inference.v1 import prompt_pb2, prompt_pb2_grpc

EXPERIMENT = "ben2_flux_fill"
MARGIN = 128
STRENGTHS = (0.0, 0.4, 0.7, 1.0)
SEAM_PERCENTILE = 95


@dataclass
class FillEdits:
    """Edits that several rows look at, each made once."""

    bench: Bench

    @cached_property
    def wanted(self) -> list[tuple[world.Background, prompts.Phrase, prompts.Phrase]]:
        """For each scene another place with two prompts of the same meaning."""
        found = []
        for number, (scene, _) in enumerate(self.bench.originals):
            rng = self.bench.rng(number, "place")
            kind = rng.choice([kind for kind in world.BACKGROUNDS if kind != scene.background.kind])
            place = world.sample_background(rng, kind=kind)
            first, second = rng.sample(prompts.backgrounds(place.kind, place.colour), 2)
            found.append((place, first, second))
        return found

    @property
    def korean(self) -> list[str]:
        """The guide's prompt for an edit."""
        return [first.korean for _, first, _ in self.wanted]

    @cached_property
    def balanced(self) -> list[Edited | None]:
        """Background changes as the guide asks for them.

        In Korean, everything else left at its default.
        """
        return self.backgrounds("background", self.korean)

    @cached_property
    def english(self) -> list[Edited | None]:
        """The same, asked for in English and in other words."""
        return self.backgrounds("in English", [second.english for _, _, second in self.wanted])

    @cached_property
    def fast(self) -> list[Edited | None]:
        """The same as `balanced` with the fast profile."""
        return self.backgrounds("fast", self.korean, profile="fast")

    def backgrounds(self, title: str, requests: Sequence[str], **options: Any) -> list[Edited | None]:
        """One background change per scene."""
        return list(self.bench.edits(title, EXPERIMENT, self.asked(requests, **options)))

    def asked(self, requests: Sequence[str], **options: Any) -> list[Asked]:
        """One background change per scene."""
        return [
            Asked(original.rgb, request, {"feature": "inpainting", "seed": number, **options})
            for number, ((_, original), request) in enumerate(zip(self.bench.originals, requests, strict=True))
        ]

    def right_places(self, edits: Sequence[Edited | None]) -> list[bool]:
        """Whether each result shows the requested place."""
        said = self.places(edits)
        return [place_of(place) == answer for (place, _, _), answer in zip(self.wanted, said, strict=True)]

    def places(self, edits: Sequence[Edited | None]) -> list[str]:
        """The judge's findings; "" without a result."""
        return [self.bench.judge.places([edit.rgb])[0] if edit else "" for edit in edits]


def cut_out(edits: FillEdits) -> Iterator[Row]:
    """BEN2's mask against the truth."""
    overlaps = []
    for (_, original), edit in zip(edits.bench.originals, edits.balanced, strict=True):
        found, true = (edit.alpha >= 128 if edit else np.zeros((1, 1), bool)), original.alpha >= 128
        overlaps.append((found & true).sum() / max(1, (found | true).sum()))
    yield Row("BEN2", "mean IoU of the mask with the truth", mean(overlaps), 0.97, "", count=len(overlaps))


def background(edits: FillEdits) -> Iterator[Row]:
    """Background change."""
    right = edits.right_places(edits.balanced)
    yield Row("background change", "shows the place asked for", share(right), 95, count=len(right))
    pairs = zip(edits.bench.originals, edits.balanced, strict=True)
    same = [is_untouched(edit, original.rgb) for (_, original), edit in pairs if edit]
    yield Row("background change", "pixels of mask alpha 0 are the picture's", share(same), 100, count=len(same))


def languages(edits: FillEdits) -> Iterator[Row]:
    """Korean and English prompts of the same meaning, and translation by itself."""
    pairs = [(a, b) for a, b in zip(edits.places(edits.balanced), edits.places(edits.english), strict=True)]
    yield Row(
        "Korean and English", "same class of result", share([a == b != "" for a, b in pairs]), 95, count=len(pairs)
    )
    phrases = _held_out_phrases(edits.bench)
    target = edits.bench.prompt_service
    with grpc.insecure_channel(target, options=proxy_options(target)) as channel:
        stub = prompt_pb2_grpc.PromptServiceStub(channel)
        right = [
            _translated(stub, phrase.korean) == phrase.english
            for phrase in track(phrases, "translation", console=console)
        ]
    yield Row("Korean and English", "held-out phrases translated right", share(right), 95, count=len(right))


def outpainting(edits: FillEdits) -> Iterator[Row]:
    """A thing asked for at one side, 128 px of new picture."""
    bench, asked, sides, kinds = edits.bench, [], [], []
    for number, (scene, _) in enumerate(bench.originals):
        rng = bench.rng(number, "outpainting")
        side, kind = rng.choice(("left", "right")), rng.choice(world.PROPS)
        phrase = prompts.extend(kind, side, rng)
        bare = world.render(world.Scene(scene.width, scene.height, scene.person, scene.background, ()))
        margins = Outpaint(left=MARGIN) if side == "left" else Outpaint(right=MARGIN)
        options = {"feature": "outpainting", "seed": number, "outpaint": margins}
        asked.append(Asked(bare.rgb, phrase.korean, options))
        sides.append(side)
        kinds.append(kind)
    there, seams = [], []
    made = bench.edits("outpainting", EXPERIMENT, asked)
    for request, side, kind, edit in zip(asked, sides, kinds, made, strict=True):
        if edit is None:
            there.append(False)
            seams.append(False)
            continue
        strip = edit.rgb[:, :MARGIN] if side == "left" else edit.rgb[:, -MARGIN:]
        border = MARGIN if side == "left" else request.picture.shape[1]
        there.append(kind in bench.judge.props([strip])[0])
        seams.append(_is_seamless(edit.rgb, request.picture, border))
    yield Row("outpainting", "the thing asked for is in the extension", share(there), 85, count=len(there))
    yield Row("outpainting", "seam not above the scene's own gradient", share(seams), 85, count=len(seams))


def strength(edits: FillEdits) -> Iterator[Row]:
    """How far from the picture each strength goes."""
    distances = []
    for strength in STRENGTHS:
        made = edits.backgrounds(f"strength {strength}", edits.korean, strength=strength)
        pairs = zip(edits.bench.originals, made, strict=True)
        distances.append(mean([_distance(edit.rgb, original.rgb) for (_, original), edit in pairs if edit]))
    rises = all(a < b for a, b in pairwise(distances))
    measure = "distances " + ", ".join(f"{d:.1f}" for d in distances) + f" at {STRENGTHS}: rising"
    yield Row("strength", measure, float(rises), 1, "", count=edits.bench.scenes)
    yield Row("strength", "distance at 0", distances[0], 0, "", at_most=True, count=edits.bench.scenes)


def fast(edits: FillEdits) -> Iterator[Row]:
    """The fast profile against the balanced one."""
    passes = [(f.steps_run, b.steps_run) for f, b in zip(edits.fast, edits.balanced, strict=True) if f and b]
    part = mean([f / b for f, b in passes])
    yield Row(
        "fast against balanced", "share of the transformer's passes", part, 1 / 3, "", at_most=True, count=len(passes)
    )
    loss = share(edits.right_places(edits.balanced)) - share(edits.right_places(edits.fast))
    count = edits.bench.scenes
    yield Row("fast against balanced", "points lost at the place asked for", loss, 5, at_most=True, count=count)
    taken = edits.bench.seconds("fast", EXPERIMENT, edits.asked(edits.korean, profile="fast"))
    yield Row("fast", "median seconds per edit, 256 px", median(taken), 6, "s", at_most=True, count=len(taken))


def seconds(edits: FillEdits) -> Iterator[Row]:
    """The duration of a balanced edit."""
    taken = edits.bench.seconds("balanced", EXPERIMENT, edits.asked(edits.korean))
    yield Row(
        "time per edit", "median seconds, balanced, 256 px", median(taken), 6, "s", at_most=True, count=len(taken)
    )


ROWS: dict[str, Callable[[FillEdits], Iterator[Row]]] = {
    "cut-out": cut_out,
    "background": background,
    "languages": languages,
    "outpainting": outpainting,
    "strength": strength,
    "fast": fast,
    "seconds": seconds,
}


def _held_out_phrases(bench: Bench) -> list[prompts.Phrase]:
    """Distinct held-out phrases, as many as scenes or as a long draw finds."""
    rng = bench.rng(0, "phrases")
    found: dict[prompts.Phrase, None] = {}
    for _ in range(100 * bench.scenes):
        phrase = prompts.sample(rng)
        if prompts.is_held_out(phrase):
            found[phrase] = None
        if len(found) == bench.scenes:
            break
    return list(found)


def _translated(stub: prompt_pb2_grpc.PromptServiceStub, korean: str) -> str:
    request = prompt_pb2.RewritePromptRequest(
        prompt=korean, target_language="en", mode=prompt_pb2.REWRITE_MODE_TRANSLATE
    )
    try:
        return stub.RewritePrompt(request, timeout=120).prompt
    except grpc.RpcError:
        return ""


def _is_seamless(canvas: np.ndarray, original: np.ndarray, border: int) -> bool:
    """Whether neighbouring columns differ no more at the border than elsewhere."""
    seam = np.abs(canvas[:, border].astype(int) - canvas[:, border - 1]).mean()
    own = np.abs(np.diff(original.astype(int), axis=1)).mean(axis=(0, 2))
    return bool(seam <= np.percentile(own, SEAM_PERCENTILE))


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())
