"""How well the demo's checkpoints edit: every row of the table on held-out scenes, through the real services.

    python -m benchmarks.demo_quality [--scenes 200] [--models demo/models] [--rows cut-out background …] [--seed N]

Starts the stack on free ports and calls its public API, one edit at a time. The scenes come from seeds that nothing was
trained with; what is in a picture is judged by `demo.judge`, a classifier for this purpose. Ends with one JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from demo import world
from demo.judge import Judge, place_of
from demo.world import prompts
from imgedit import SyncEditClient
from imgedit.errors import ImgeditError
from imgedit.ports import Ports
from imgedit.stack import DEMO_MODELS, Stack, demo_environment_of
from imgedit.v1 import edit_pb2, prompt_pb2, prompt_pb2_grpc

MARGIN = 128
STRENGTHS = (0.0, 0.4, 0.7, 1.0)
SEAM_PERCENTILE = 95
FIRST_SEED = world.HELD_OUT_SEEDS.start + 1000

console = Console()


@dataclass(frozen=True)
class Row:
    """One line of the table. `target` is the least that `value` should be; `at_most` turns that around."""

    task: str
    measure: str
    value: float
    target: float
    unit: str = "%"
    at_most: bool = False
    count: int = 0

    @property
    def reached(self) -> bool:
        """Whether the target is."""
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(frozen=True, eq=False)
class Edited:
    """What came back: `rgb` (H, W, 3), the composite's `weight` (H, W), `alpha` (H, W) of the cut-out."""

    rgb: np.ndarray
    weight: np.ndarray
    alpha: np.ndarray
    prompt: str
    seconds: float
    steps_run: int


@dataclass
class Bench:
    """Held-out scenes, a client of the running services, the judge; what several rows need is made once."""

    client: SyncEditClient
    prompt_service: str
    judge: Judge
    scenes: int
    first_seed: int = FIRST_SEED
    refused: list[str] = field(default_factory=list)

    def rng(self, number: int, purpose: str) -> random.Random:
        """The chance of one scene for one purpose."""
        return random.Random(f"{purpose}:{self.first_seed + number}")

    @cached_property
    def originals(self) -> list[tuple[world.Scene, world.Rendered]]:
        """The scenes, 256 × 256, and how they look."""
        scenes = [world.sample(random.Random(self.first_seed + number)) for number in range(self.scenes)]
        return [(scene, world.render(scene)) for scene in scenes]

    @cached_property
    def wanted(self) -> list[tuple[world.Background, prompts.Phrase, prompts.Phrase]]:
        """For each scene another place, a wording that asks for it, and a second wording with the same meaning."""
        found = []
        for number, (scene, _) in enumerate(self.originals):
            rng = self.rng(number, "place")
            kind = rng.choice([kind for kind in world.BACKGROUNDS if kind != scene.background.kind])
            place = world.sample_background(rng, kind=kind)
            first, second = rng.sample(prompts.backgrounds(place.kind, place.colour), 2)
            found.append((place, first, second))
        return found

    @cached_property
    def balanced(self) -> list[Edited | None]:
        """Background changes as the guide asks for them: in Korean, everything else left at its default."""
        asked = [first.korean for _, first, _ in self.wanted]
        return self.backgrounds("background", asked)

    @cached_property
    def english(self) -> list[Edited | None]:
        """The same, asked for in English and in other words."""
        return self.backgrounds("in English", [second.english for _, _, second in self.wanted])

    @cached_property
    def fast(self) -> list[Edited | None]:
        """The same as `balanced` with the fast profile."""
        return self.backgrounds("fast", [first.korean for _, first, _ in self.wanted], profile="fast")

    def backgrounds(self, title: str, asked: Sequence[str], **options: Any) -> list[Edited | None]:
        """One background change per scene."""
        numbered = list(enumerate(zip(self.originals, asked, strict=True)))
        return [
            self.edit(original.rgb, prompt, seed=number, feature="inpainting", **options)
            for number, ((_, original), prompt) in track(numbered, description=title, console=console)
        ]

    def edit(self, pixels: np.ndarray, prompt: str, **options: Any) -> Edited | None:
        """One edit through the public API; None where it was refused, which counts as failed."""
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG")
        try:
            answer = self.client.edit(data.getvalue(), experiment="ben2_flux_fill", prompt=prompt, **options)
        except ImgeditError as error:
            self.refused.append(f"{prompt}: {error}")
            return None
        return Edited(
            rgb=_opened(answer.output_image, "RGB"),
            weight=_opened(answer.mask_image, "L"),
            alpha=_opened(answer.background_removed_image, "RGBA")[..., 3],
            prompt=answer.effective.prompt,
            seconds=answer.elapsed_time,
            steps_run=answer.effective.steps_run,
        )

    def right_places(self, edits: Sequence[Edited | None]) -> list[bool]:
        """Whether each result shows the place that was asked for."""
        said = self.places(edits)
        return [place_of(place) == answer for (place, _, _), answer in zip(self.wanted, said, strict=True)]

    def places(self, edits: Sequence[Edited | None]) -> list[str]:
        """What the judge sees in each; "" where there is none."""
        return [self.judge.places([edit.rgb])[0] if edit else "" for edit in edits]


def cut_out(bench: Bench) -> Iterator[Row]:
    """BEN2's mask against the truth."""
    overlaps = []
    for (_, original), edit in zip(bench.originals, bench.balanced, strict=True):
        found, true = (edit.alpha >= 128 if edit else np.zeros((1, 1), bool)), original.alpha >= 128
        overlaps.append((found & true).sum() / max(1, (found | true).sum()))
    yield Row("BEN2", "mean IoU of the mask with the truth", _mean(overlaps), 0.97, "", count=len(overlaps))


def background(bench: Bench) -> Iterator[Row]:
    """Background change."""
    right = bench.right_places(bench.balanced)
    yield Row("background change", "shows the place asked for", _share(right), 95, count=len(right))
    same = [
        bool(edit) and bool((edit.rgb == original.rgb)[edit.weight == 0].all())
        for (_, original), edit in zip(bench.originals, bench.balanced, strict=True)
        if edit
    ]
    yield Row("background change", "pixels of weight 0 are the picture's", _share(same), 100, count=len(same))


def languages(bench: Bench) -> Iterator[Row]:
    """Korean and English prompts of the same meaning, and translation by itself."""
    pairs = [(a, b) for a, b in zip(bench.places(bench.balanced), bench.places(bench.english), strict=True)]
    yield Row(
        "Korean and English", "same class of result", _share([a == b != "" for a, b in pairs]), 95, count=len(pairs)
    )
    phrases = _held_out_phrases(bench)
    with grpc.insecure_channel(bench.prompt_service) as channel:
        stub = prompt_pb2_grpc.PromptServiceStub(channel)
        right = [
            _translated(stub, phrase.korean) == phrase.english
            for phrase in track(phrases, "translation", console=console)
        ]
    yield Row("Korean and English", "held-out phrases translated right", _share(right), 95, count=len(right))


def outpainting(bench: Bench) -> Iterator[Row]:
    """A thing asked for at one side, 128 px of new picture."""
    there, seams = [], []
    for number, (scene, _) in track(list(enumerate(bench.originals)), "outpainting", console=console):
        rng = bench.rng(number, "outpainting")
        side, kind = rng.choice(("left", "right")), rng.choice(world.PROPS)
        phrase = prompts.extend(kind, side, rng)
        bare = world.render(world.Scene(scene.width, scene.height, scene.person, scene.background, ()))
        margins = edit_pb2.Outpaint(left=MARGIN) if side == "left" else edit_pb2.Outpaint(right=MARGIN)
        edit = bench.edit(bare.rgb, phrase.korean, seed=number, feature="outpainting", outpaint=margins)
        if edit is None:
            there.append(False)
            seams.append(False)
            continue
        strip = edit.rgb[:, :MARGIN] if side == "left" else edit.rgb[:, -MARGIN:]
        there.append(kind in bench.judge.props([strip])[0])
        seams.append(_is_seamless(edit.rgb, bare.rgb, MARGIN if side == "left" else scene.width))
    yield Row("outpainting", "the thing asked for is in the extension", _share(there), 85, count=len(there))
    yield Row("outpainting", "seam not above the scene's own gradient", _share(seams), 85, count=len(seams))


def strength(bench: Bench) -> Iterator[Row]:
    """How far from the picture each strength goes."""
    distances = []
    for strength in STRENGTHS:
        asked = [first.korean for _, first, _ in bench.wanted]
        edits = bench.backgrounds(f"strength {strength}", asked, strength=strength)
        pairs = zip(bench.originals, edits, strict=True)
        distances.append(_mean([_distance(edit.rgb, original.rgb) for (_, original), edit in pairs if edit]))
    rises = all(a < b for a, b in pairwise(distances))
    measure = "distances " + ", ".join(f"{d:.1f}" for d in distances) + f" at {STRENGTHS}: rising"
    yield Row("strength", measure, float(rises), 1, "", count=bench.scenes)
    yield Row("strength", "distance at 0", distances[0], 0, "", at_most=True, count=bench.scenes)


def fast(bench: Bench) -> Iterator[Row]:
    """The fast profile against the balanced one."""
    passes = [(f.steps_run, b.steps_run) for f, b in zip(bench.fast, bench.balanced, strict=True) if f and b]
    share = _mean([f / b for f, b in passes])
    yield Row(
        "fast against balanced", "share of the transformer's passes", share, 1 / 3, "", at_most=True, count=len(passes)
    )
    loss = _share(bench.right_places(bench.balanced)) - _share(bench.right_places(bench.fast))
    yield Row("fast against balanced", "points lost at the place asked for", loss, 5, at_most=True, count=bench.scenes)
    seconds = _median([edit.seconds for edit in bench.fast if edit])
    yield Row("fast", "median seconds per edit, 256 px", seconds, 6, "s", at_most=True, count=len(passes))


def seconds(bench: Bench) -> Iterator[Row]:
    """What a balanced edit takes."""
    taken = [edit.seconds for edit in bench.balanced if edit]
    yield Row(
        "time per edit", "median seconds, balanced, 256 px", _median(taken), 6, "s", at_most=True, count=len(taken)
    )


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "cut-out": cut_out,
    "background": background,
    "languages": languages,
    "outpainting": outpainting,
    "strength": strength,
    "fast": fast,
    "seconds": seconds,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200, help="held-out scenes per row (%(default)s)")
    parser.add_argument("--models", type=Path, default=DEMO_MODELS, help="folder of the checkpoints (%(default)s)")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="which rows (all)")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="the first scene's seed (%(default)s)")
    options = parser.parse_args()
    started = time.perf_counter()
    with running(options.models) as (client, prompt_service):
        bench = Bench(client, prompt_service, Judge(), options.scenes, options.seed)
        rows = [row for name in options.rows for row in ROWS[name](bench)]
    console.print(table(rows))
    for refusal in bench.refused[:5]:
        console.print(f"refused: {refusal}")
    summary = {
        "benchmark": "demo_quality",
        "scenes": options.scenes,
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "refused": len(bench.refused),
        "rows": [{**asdict(row), "value": round(row.value, 4), "reached": row.reached} for row in rows],
    }
    print(json.dumps(summary, ensure_ascii=False))


@contextmanager
def running(models: Path) -> Iterator[tuple[SyncEditClient, str]]:
    """The services with these checkpoints: a client of theirs, and the address of the PromptService."""
    ports = Ports.free()
    with tempfile.TemporaryDirectory() as logs:
        stack = Stack(ports, Path(logs), demo_environment_of(ports, models))
        try:
            stack.start()
            list(stack.wait_until_serving(timeout=300))
            with SyncEditClient(ports.address("orchestrator")) as client:
                yield client, ports.address("qwen_edit")
        finally:
            stack.stop()


def table(rows: Sequence[Row]) -> Table:
    """The rows for people."""
    drawn = Table("task", "measure", "measured", "target", "scenes", title="Demo checkpoints on held-out scenes")
    for row in rows:
        colour = "green" if row.reached else "red"
        sign = "≤" if row.at_most else "≥"
        value, target = (f"{number:.4g} {row.unit}".strip() for number in (row.value, row.target))
        drawn.add_row(row.task, row.measure, f"[{colour}]{value}[/]", f"{sign} {target}", str(row.count))
    return drawn


def _held_out_phrases(bench: Bench) -> list[prompts.Phrase]:
    """As many held-out phrases as scenes, or all that a long draw finds, none twice."""
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
    """Whether the columns at the border differ no more than neighbouring columns of the picture do elsewhere."""
    seam = np.abs(canvas[:, border].astype(int) - canvas[:, border - 1]).mean()
    own = np.abs(np.diff(original.astype(int), axis=1)).mean(axis=(0, 2))
    return bool(seam <= np.percentile(own, SEAM_PERCENTILE))


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def _opened(data: bytes, mode: str) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert(mode))


def _share(flags: Sequence[bool]) -> float:
    return 100 * _mean([float(flag) for flag in flags])


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


if __name__ == "__main__":
    main()
