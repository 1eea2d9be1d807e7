"""`python -m demo`: start all services, edit the samples, print the results.

Uses free ports and the demo checkpoints, so it needs neither GPU nor download. They were trained on drawn scenes like
the samples only.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from demo import sheet
from demo.sheet import Entry
from imgedit import Outpaint, SyncEditClient
from imgedit.errors import ImgeditError
from imgedit.local.ports import Ports
from imgedit.local.supervisor import DEMO_MODELS, Stack, StackError, demo_environment_of
from imgedit.values import Profile

SAMPLES = Path(__file__).with_name("samples")
TITLE = "imgedit: the sample images, edited by the demo checkpoints"
NOTE = (
    "Each row: the original, a reference where there is one, the subject that BEN2 cut out, and what FLUX.1-Fill or "
    "Qwen-Image-Edit made of it. All models are tiny and were trained on drawn scenes like these; photographs need the "
    "published weights."
)

FILL, QWEN = "ben2_flux_fill", "ben2_qwen_image"

console = Console()


@dataclass(frozen=True)
class Example:
    """One edit; `left` and `right` are margins in pixels, `reference` a second sample."""

    sample: str
    feature: str
    prompt: str
    profile: Profile = "balanced"
    left: int = 0
    right: int = 0
    experiment: str = FILL
    reference: str | None = None


EXAMPLES = (
    Example("blue-in-the-park.png", "inpainting", "배경을 현대적인 체육관으로 변경"),
    Example("gym-shirt.png", "inpainting", "Change the background to a sunny beach"),
    Example("in-the-gym.png", "inpainting", "배경을 야외 공원으로 변경"),
    Example("turned.jpg", "inpainting", "배경을 눈 덮인 산으로 변경"),
    Example("tall-at-night.jpg", "inpainting", "Change the background to an old brick wall"),
    Example("dumbbell-by-the-wall.png", "inpainting", "배경을 도시의 밤거리로 변경", "fast"),
    Example("glasses-at-the-beach.png", "outpainting", "왼쪽에 운동 기구 추가", left=128),
    Example("gym-shirt.png", "outpainting", "Extend to the right and add a tree", right=128),
    Example("blue-in-the-park.png", "appearance_editing", "파란색 운동복을 빨간색으로 변경", experiment=QWEN),
    Example("glasses-at-the-beach.png", "appearance_editing", "안경 제거", experiment=QWEN),
    Example("gym-shirt.png", "appearance_editing", "손에 아령 추가", experiment=QWEN),
    Example("blue-in-the-park.png", "appearance_editing", "손에 물병 추가", experiment=QWEN),
    Example("gym-shirt.png", "text_editing", "티셔츠의 'GYM'을 'FITNESS'로 변경", experiment=QWEN),
    Example("in-the-gym.png", "semantic_editing", "배경을 야외 공원으로 변경", experiment=QWEN),
    Example("gym-shirt.png", "semantic_editing", "Change the background to a modern gym", experiment=QWEN),
    Example(
        "turned.jpg", "multi_image_editing", "참조 이미지의 스타일로 변경", experiment=QWEN, reference="in-the-gym.png"
    ),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; the exit status is 0 when every edit succeeded."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, default=DEMO_MODELS, help="folder of the checkpoints (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="folder for results (%(default)s)")
    given = parser.parse_args(arguments)
    ports = Ports.free()
    stack = Stack(ports, given.out / "logs", demo_environment_of(ports, given.models))
    try:
        stack.start()
        started = time.perf_counter()
        with console.status("starting the services …"):
            for service in stack.wait_until_serving(timeout=180):
                console.print(f"[green]SERVING[/] {service:13} {ports.address(service)}")
        console.print(f"all services serve after {time.perf_counter() - started:.1f} s\n")
        with SyncEditClient(ports.address("orchestrator")) as client:
            entries = [run(client, number, example, given.out) for number, example in enumerate(EXAMPLES, 1)]
    except (StackError, ImgeditError) as error:
        console.print(f"[red]error:[/] {error}", markup=True)
        return 1
    finally:
        stack.stop()
    sheet.write_picture(given.out / "contact-sheet.png", entries)
    sheet.write_page(given.out / "contact-sheet.html", entries, title=TITLE, note=NOTE)
    console.print("\nall of them beside one another:")
    for name in ("contact-sheet.png", "contact-sheet.html"):
        console.print(f"  {given.out / name}", soft_wrap=True, highlight=False)
    return 0


def run(client: SyncEditClient, number: int, example: Example, folder: Path) -> Entry:
    """Run one example, write its pictures and print where they are."""
    original = SAMPLES / example.sample
    reference = SAMPLES / example.reference if example.reference else None
    margins = Outpaint(left=example.left, right=example.right)
    with console.status(f"{example.feature}: {example.prompt}"):
        answer = client.edit(
            original,
            experiment=example.experiment,
            feature=example.feature,
            prompt=example.prompt,
            profile=example.profile,
            seed=7,
            outpaint=margins if margins != Outpaint() else None,
            references=[reference] if reference else [],
        )
    entry = Entry(
        prompt=example.prompt,
        seen=answer.effective.prompt,
        feature=example.feature,
        profile=example.profile,
        seconds=answer.elapsed_time,
        original=original,
        reference=reference,
        cutout=folder / f"{number}-{original.stem}-cutout.png",
        result=folder / f"{number}-{original.stem}-result.png",
    )
    entry.cutout.write_bytes(answer.background_removed_image)
    entry.result.write_bytes(answer.output_image)
    console.print(f"[bold]{entry.prompt}[/] – {entry.details}", highlight=False)
    for label, path in entry.pictures.items():
        console.print(f"  {label:9} {path}", soft_wrap=True, highlight=False)
    return entry


if __name__ == "__main__":
    sys.exit(main())
