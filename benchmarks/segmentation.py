"""How fast BEN2 runs here.

`python -m benchmarks.segmentation [--rounds N] [--folder WEIGHTS] [--memory]`.

Measures the prepared paths against the plain eager float32 network, interleaved, what the steps around the network cost
at 1, 12 and 25 megapixels, and the foreground estimation against the plain formula at 1. Prints tables; the last line
is one JSON object. Speed does not depend on the weights: without `--folder` they are random, at the official sizes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from imgedit.imaging import encoding, images
from services.segmentation.ben2 import BEN2, load
from services.segmentation.cutout import to_mask
from services.segmentation.foreground import estimate_foreground
from services.segmentation.model import Network, Pixels, auto_precision, from_map, prepare, to_input

P = ParamSpec("P")
T = TypeVar("T")

Doubles = NDArray[np.float64]

SIZES = {"1 MP": (1024, 1024), "12 MP": (4000, 3000), "25 MP": (5770, 4330)}  # width, height
SUBJECTS = {"soft edge of 12 px": 12, "soft everywhere": 4096}  # width of the subject's edge in pixels
STAGES = ("decode", "preprocess", "postprocess", "encode")
SEED = 7


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; the exit status is 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.segmentation", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of every path (%(default)s)")
    parser.add_argument("--folder", type=Path, help="folder of BEN2 weights; random official-size weights without it")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    parser.add_argument("--memory", action="store_true", help="also run each path in a subprocess to measure its peak")
    options = parser.parse_args(arguments)

    network = build(options.folder)
    precisions = {"plain fp32": None, "prepared fp32": "fp32", "default": auto_precision(options.device)}
    paths = {name: make_path(network, options.device, precision) for name, precision in precisions.items()}
    seconds, off = time_paths(paths, network.config.image_size, options.rounds)
    report: dict[str, Any] = {
        "device": options.device,
        "default_precision": precisions["default"],
        "threads": torch.get_num_threads(),
        "network_seconds": seconds,
        "ratio_to_plain": {name: value / seconds["plain fp32"] for name, value in seconds.items()},
        "max_difference": off,
        "stages_seconds": {
            name: time_stages(size, network.config.image_size, options.rounds) for name, size in SIZES.items()
        },
    }
    smallest = next(iter(SIZES.values()))
    report["foreground_seconds"] = {
        name: time_foreground(smallest, soft_px, options.rounds) for name, soft_px in SUBJECTS.items()
    }
    report["share_of_network"] = {
        name: sum(stages.values()) / seconds["default"] for name, stages in report["stages_seconds"].items()
    }
    if options.memory:
        report["peak_mib"] = {
            name: peak_memory(options.folder, options.device, precision) for name, precision in precisions.items()
        }
    print_tables(report)
    print(json.dumps(report))
    return 0


def build(folder: Path | None) -> BEN2:
    """The network in `folder`, or the official sizes with seeded random weights."""
    if folder is not None:
        return load(folder)
    network = BEN2()
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
    return network.requires_grad_(False).eval()


def make_path(network: BEN2, device: str, precision: str | None) -> Network:
    """The prepared network in `precision`, or the plain eager one in float32 for None."""
    if precision is not None:
        return prepare(network, device, precision=precision)
    network = network.to(device)

    def plain(x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            out: torch.Tensor = network(x.to(device))
            return out.cpu()

    return plain


def time_paths(paths: Mapping[str, Network], side: int, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of every path, interleaved, and its largest difference."""
    picture = to_input(photograph(side, side), side)
    results = {name: run(picture).cpu() for name, run in paths.items()}  # also the warm-up
    times: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, run in paths.items():
            times[name].append(timed(run, picture)[0])
    off = {name: float((result - results["plain fp32"]).abs().max()) for name, result in results.items()}
    return {name: statistics.median(values) for name, values in times.items()}, off


def time_stages(size: tuple[int, int], side: int, rounds: int) -> dict[str, float]:
    """Median seconds of every step around the network, for a PNG of (width, height)."""
    width, height = size
    file = encoding.encode_png(photograph(width, height))
    alpha = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(SEED))
    alpha = torch.nn.functional.avg_pool2d(alpha, 31, stride=1, padding=15)
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for _ in range(rounds):
        seconds, picture = timed(decode, file)
        times["decode"].append(seconds)
        times["preprocess"].append(timed(to_input, picture, side)[0])
        seconds, mask = timed(postprocess, picture, alpha)
        times["postprocess"].append(seconds)
        times["encode"].append(timed(encoding.encode_png, picture, mask)[0])
    return {stage: statistics.median(values) for stage, values in times.items()}


def time_foreground(size: tuple[int, int], soft_px: float, rounds: int) -> dict[str, float]:
    """Median seconds of `refine_foreground` at (width, height), ours and plain.

    Interleaved. The subject is a disc whose edge is `soft_px` wide.
    """
    width, height = size
    picture, (ys, xs) = photograph(width, height), np.mgrid[:height, :width]
    inside = 0.3 * height - np.hypot(ys - height / 2, xs - width / 2)
    alpha = np.clip(inside / soft_px + 0.5, 0, 1).astype(np.float32)
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(rounds):
        times["plain"].append(timed(plain_foreground, picture, alpha)[0])
        times["ours"].append(timed(estimate_foreground, picture, alpha)[0])
    return {name: statistics.median(values) for name, values in times.items()}


def decode(file: bytes) -> Pixels:
    """The service's processing of an image file."""
    return images.open_untrusted(file, field="image", max_pixels=26_000_000).rgb


def postprocess(picture: Pixels, alpha: torch.Tensor) -> Pixels:
    """The network's map to the mask."""
    return to_mask(from_map(alpha, *picture.shape[:2]))


def timed(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[float, T]:
    """Seconds that `work` took, and its result."""
    started = time.perf_counter()
    result = work(*args, **kwargs)
    return time.perf_counter() - started, result


def peak_memory(folder: Path | None, device: str, precision: str | None) -> float:
    """Peak resident MiB of a process that runs one path once."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(own_peak_memory, (folder, device, precision))


def own_peak_memory(folder: Path | None, device: str, precision: str | None) -> float:
    """As `peak_memory`, of this process."""
    network = build(folder)
    side = network.config.image_size
    make_path(network, device, precision)(to_input(photograph(side, side), side))
    # not getrusage: its maximum includes that of the process that started this one
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def blur(x: Doubles, side: int) -> Doubles:
    """Mean over the side x side box of (H, W, C), mirrored at the border.

    By plain sums. The anchor is at side // 2.
    """
    pad = (side // 2, side - 1 - side // 2)
    padded = np.pad(x, (pad, pad, (0, 0)), mode="reflect")
    sums = np.pad(padded.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    boxes: Doubles = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return boxes / side**2


def fuse(image: Doubles, fore: Doubles, back: Doubles, alpha: Doubles, side: int) -> tuple[Doubles, Doubles]:
    """One pass of the formula as it is written in the paper."""
    coverage = blur(alpha, side)
    fore = blur(fore * alpha, side) / (coverage + 1e-5)
    back = blur(back * (1 - alpha), side) / (1 - coverage + 1e-5)
    return np.clip(fore + alpha * (image - alpha * fore - (1 - alpha) * back), 0, 1), back


def plain_foreground(image: Pixels, alpha: NDArray[np.float32]) -> Doubles:
    """Both passes of the foreground estimation with plain sums in double precision.

    (H, W, 3) in 0 to 255.
    """
    colours, a = image / 255, alpha[:, :, None].astype(np.float64)
    fore, back = fuse(colours, colours, colours, a, 90)
    return fuse(colours, fore, back, a, 6)[0] * 255


def photograph(width: int, height: int) -> Pixels:
    """Something that compresses as a photograph does.

    (height, width, 3) of smooth colours under fine grain.
    """
    generator = np.random.default_rng(SEED)
    smooth = Image.fromarray(generator.integers(0, 256, (24, 24, 3), np.uint8))
    grain = generator.integers(-4, 5, (height, width, 1), np.int16)
    picture = np.asarray(smooth.resize((width, height), Image.Resampling.BICUBIC), np.int16) + grain
    pixels: Pixels = np.clip(picture, 0, 255).astype(np.uint8)
    return pixels


def print_tables(report: Mapping[str, Any]) -> None:
    """The network's paths, then the steps around it."""
    print(f"default precision: {report['default_precision']}")
    print(f"{'network':18} {'seconds':>9} {'of plain':>9} {'max off':>9} {'peak MiB':>9}")
    for name, seconds in report["network_seconds"].items():
        peak = f"{report['peak_mib'][name]:9.0f}" if "peak_mib" in report else f"{'':9}"
        ratio, off = report["ratio_to_plain"][name], report["max_difference"][name]
        print(f"{name:18} {seconds:9.3f} {ratio:9.3f} {off:9.5f} {peak}")
    print()
    print(f"{'around it, ms':18} " + " ".join(f"{stage:>11}" for stage in STAGES) + f" {'of network':>11}")
    for name, stages in report["stages_seconds"].items():
        row = " ".join(f"{1000 * stages[stage]:11.1f}" for stage in STAGES)
        print(f"{name:18} {row} {report['share_of_network'][name]:11.1%}")
    print()
    print(f"{'refine, ms':18} {'plain':>11} {'ours':>11} {'of plain':>11}")
    for name, seconds in report["foreground_seconds"].items():
        plain, ours = seconds["plain"], seconds["ours"]
        print(f"{name:18} {1000 * plain:11.1f} {1000 * ours:11.1f} {ours / plain:11.3f}")


if __name__ == "__main__":
    sys.exit(main())
