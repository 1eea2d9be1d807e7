"""`python -m demo`: start every service, edit real image files through the public API, show where the results are.

Runs on free ports with the tiny checkpoints, so it disturbs nothing and needs neither GPU nor download. The checkpoints
have random weights: the pictures show that the chain works and that kept pixels stay, not art.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps
from rich.console import Console

from demo.tiny.__main__ import main as build_tiny_checkpoints
from imgedit import SyncEditClient
from imgedit.ports import Ports
from imgedit.stack import Stack, StackError, environment_of

OUT = Path("build/demo")
MODELS = Path("build/models-tiny")
WORK_PIXELS = 384 * 384

console = Console()


@dataclass(frozen=True)
class Example:
    """One edit of the demo."""

    photo: str
    experiment: str
    feature: str
    prompt: str


EXAMPLES = (
    Example("portrait.jpg", "ben2_flux_fill", "inpainting", "배경을 현대적인 체육관으로 변경"),
    Example("portrait.jpg", "ben2_qwen_image", "appearance_editing", "운동복을 파란색에서 빨간색으로 변경"),
    Example("logo.png", "ben2_flux_fill", "outpainting", "왼쪽에 운동 기구 추가"),
    Example("logo.png", "ben2_qwen_image", "semantic_editing", "배경을 야외 공원으로 변경"),
)


def main() -> int:
    """Run the demo; the exit code is 0 when every edit succeeded."""
    samples = make_samples(OUT)
    build_tiny_checkpoints(["--out", str(MODELS)])
    ports = Ports.free()
    stack = Stack(ports, OUT / "logs", environment_of(ports, MODELS, max_work_pixels=WORK_PIXELS))
    try:
        stack.start()
        started = time.perf_counter()
        with console.status("starting the services …"):
            for service in stack.wait_until_serving(timeout=180):
                console.print(f"[green]SERVING[/] {service:13} {ports.address(service)}")
        console.print(f"all services serve after {time.perf_counter() - started:.1f} s")
        with SyncEditClient(ports.address("orchestrator")) as client:
            rows = [run_example(client, example, samples[example.photo]) for example in EXAMPLES]
    except StackError as error:
        console.print(f"[red]error:[/] {error}")
        return 1
    finally:
        stack.stop()
    write_contact_sheet(OUT / "contact-sheet.png", rows)
    console.print(f"all of them beside one another: {OUT / 'contact-sheet.png'}")
    console.print(
        "The checkpoints have random weights, so the painted parts are noise; the kept pixels are the originals'."
    )
    return 0


def run_example(client: SyncEditClient, example: Example, original: Path) -> tuple[Path, Path, Path]:
    """Run one example, write its pictures and print where: (original, cut-out, result)."""
    with console.status(f"{example.experiment} / {example.feature}: {example.prompt}"):
        answer = client.edit(
            original, experiment=example.experiment, feature=example.feature, prompt=example.prompt, seed=7, steps=12
        )
    stem = f"{original.stem}-{example.feature}"
    cutout, result = OUT / f"{stem}-cutout.png", OUT / f"{stem}-result.png"
    cutout.write_bytes(answer.background_removed_image)
    result.write_bytes(answer.output_image)
    console.print(
        f"\n[bold]{example.experiment} / {example.feature}[/] – {example.prompt} ({answer.elapsed_time:.1f} s)"
    )
    for label, path in (("original", original), ("cut-out", cutout), ("result", result)):
        console.print(f"  {label:9} {path}", soft_wrap=True, highlight=False)
    return original, cutout, result


def write_contact_sheet(path: Path, rows: list[tuple[Path, Path, Path]], side: int = 256) -> None:
    """One row per edit: original, cut-out on grey, result."""
    sheet = Image.new("RGB", (3 * side, len(rows) * side), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            with Image.open(picture) as opened:
                shown = ImageOps.contain(ImageOps.exif_transpose(opened).convert("RGBA"), (side - 8, side - 8))
            ground = Image.new("RGBA", shown.size, (200, 200, 200, 255))
            ground.alpha_composite(shown)
            sheet.paste(ground.convert("RGB"), (column * side + 4, row * side + 4))
    sheet.save(path)


def make_samples(folder: Path) -> dict[str, Path]:
    """A JPEG photograph with an EXIF turn and a PNG with alpha, from the pictures that matplotlib ships."""
    from matplotlib import cbook

    folder.mkdir(parents=True, exist_ok=True)
    samples = {name: folder / name for name in ("portrait.jpg", "logo.png")}
    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as photo:
        exif = Image.Exif()
        exif[0x0112] = 6  # orientation: turn by 90° clockwise to see it upright
        photo.transpose(Image.Transpose.ROTATE_90).save(samples["portrait.jpg"], quality=92, exif=exif)
    with Image.open(cbook.get_sample_data("logo2.png", asfileobj=False)) as logo:
        logo.save(samples["logo.png"])
    return samples


if __name__ == "__main__":
    sys.exit(main())
