"""The overhead of services, queues and transport over the models in one process.

    python -m benchmarks.overhead [--megapixels 1 4 12 25] [--rounds 7]

The edit is inpainting of a PNG photo with BEN2's mask. The models respond instantly, so only the overhead is measured.
Servers, queues, engine, transport and orchestrator are real, each in a separate process. Rounds alternate between the
public API and the orchestrator's own chain with the same models called directly. Every round has a new image, so caches
do not help. Medians are split into codec (one decode, one encode per image of the response), copy (resizing, masks,
foreground colours, compositing), queue, and RPC, which is the rest. Ends with one JSON object.
"""

import argparse
import asyncio
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import cbook
from numpy.typing import NDArray
from PIL import Image

from imgedit import EditClient
from imgedit.imaging.decode_pool import Decoders
from imgedit.imaging.pixels import Pixels
from imgedit.local.ports import Ports
from imgedit.local.services import SERVICES
from imgedit.local.supervisor import environment_of, is_serving
from imgedit.v1 import edit_pb2
from services.common.server import run_service
from services.diffusion.engine.adapter import Workload
from services.fill.spec import FillSpec
from services.orchestrator.__main__ import prompt_rules
from services.orchestrator.backends.clients import ModelUse, Painted, Segmented
from services.orchestrator.backends.lora_lists import LoraLists
from services.orchestrator.catalogue.source import CatalogueSource
from services.orchestrator.edits.admission import Admission, Limit
from services.orchestrator.edits.edit_registry import EventLog
from services.orchestrator.edits.editor import CallContext, Editor
from services.orchestrator.settings import OrchestratorSettings
from services.orchestrator.webhooks.edit_webhooks import Webhooks
from services.segmentation.cutout import to_mask
from services.segmentation.foreground import estimate_foreground

MAX_WORK_PIXELS = 1_048_576
MAX_PIXELS = 26_000_000
PARTS = ("codec", "copy", "queue", "rpc")


class InstantBEN2:
    """The left half is the subject, with a soft edge."""

    revision, precision = "0" * 12, "fp32"

    def alpha(self, image: Pixels) -> NDArray[np.float32]:
        """(H, W) float32 in [0, 1]."""
        height, width = image.shape[:2]
        ramp = np.clip((width / 2 - np.arange(width, dtype=np.float32)) / 8 + 0.5, 0, 1)
        return np.ascontiguousarray(np.broadcast_to(ramp, (height, width)))

    def warm_up(self) -> None:
        """Nothing to do."""


class InstantFill:
    """Paints the picture as it is."""

    name, revision = "FLUX.1-Fill", "0" * 12

    def workload(self, spec: FillSpec) -> Workload:
        """One step."""
        return Workload(1, 1, 1, spec.image.nbytes, None)

    def warnings(self, spec: FillSpec) -> tuple[str, ...]:  # noqa: ARG002  # as FillAdapter
        """None."""
        return ()

    def prepare(self, spec: FillSpec) -> FillSpec:
        """The state is the request."""
        return spec

    def denoise(self, states: Sequence[FillSpec]) -> None:
        """Nothing to do."""

    def decode(self, state: FillSpec) -> Pixels:
        """The picture."""
        return state.image

    def skipped(self, state: FillSpec) -> int:  # noqa: ARG002
        """No step cache."""
        return 0

    def release(self, state: FillSpec) -> None:
        """Nothing to do."""

    def warm_up(self) -> None:
        """Nothing to do."""

    def peak_memory(self) -> int:
        """Not measured."""
        return 0


class DirectModels:
    """The same models, with the calls of `Backends` that the chain makes."""

    async def segment(self, rgb: Pixels, *, wants_foreground: bool, **_: Any) -> Segmented:
        """As `Backends.segment`."""
        mask = await asyncio.to_thread(to_mask, InstantBEN2().alpha(rgb))
        foreground = None
        if wants_foreground:
            share = mask.astype(np.float32) / np.float32(255)
            foreground = await asyncio.to_thread(estimate_foreground, rgb, share)
        return Segmented(mask, foreground, ModelUse("BEN2", ""))

    async def fill(self, rgb: Pixels, mask: Pixels, *_: Any, **__: Any) -> Painted:  # noqa: ARG002  # as Backends.fill
        """As `Backends.fill`."""
        return Painted(rgb, ModelUse("FLUX.1-Fill", ""))


def serve(service: str) -> int:
    """Run a model service of this project with its instant model."""
    if service == "segmentation":
        from services.segmentation import model as segmentation
        from services.segmentation.__main__ import make_service as make_segmentation
        from services.segmentation.settings import SegmentationSettings

        segmentation.Segmenter.load = lambda *_, **__: InstantBEN2()  # type: ignore[method-assign,assignment]
        return run_service(make_segmentation, SegmentationSettings)
    from services.fill import model as fill
    from services.fill.__main__ import make_service as make_fill
    from services.fill.settings import FillSettings

    fill.load_fill = lambda *_, **__: InstantFill()  # type: ignore[assignment]
    return run_service(make_fill, FillSettings)


@contextmanager
def services(ports: Ports) -> Iterator[None]:
    """The two model services and then the orchestrator, each in a process.

    Each serves before the next is started.
    """
    commands = {
        **{name: ["-m", "benchmarks.overhead", "--serve", name] for name in ("segmentation", "fill")},
        "orchestrator": ["-m", "services.orchestrator"],
    }
    running = []
    with tempfile.TemporaryDirectory() as models:
        shared = environment_of(ports, Path(models), max_work_pixels=MAX_WORK_PIXELS)
        shared["IMGEDIT_ORCHESTRATOR_MAX_PIXELS"] = str(MAX_PIXELS)
        try:
            for name, command in commands.items():
                prefix = f"IMGEDIT_{name.upper()}_"
                own = {
                    f"{prefix}PORT": str(ports.grpc_port(name)),
                    f"{prefix}METRICS_PORT": str(ports.metrics_port(name)),
                    f"{prefix}DRAIN_SECONDS": "0",
                    f"{prefix}LOG_LEVEL": "warning",
                }
                running.append(subprocess.Popen([sys.executable, *command], env={**os.environ, **shared, **own}))
                while not is_serving(ports.address(name)):
                    with suppress(subprocess.TimeoutExpired):
                        running[-1].wait(0.2)
                        raise SystemExit(f"{name} did not start")
            yield
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()


def direct_editor(decoders: Decoders) -> Editor:
    """The orchestrator's editor on models that are called directly."""
    settings = OrchestratorSettings(max_work_pixels=MAX_WORK_PIXELS)
    unlimited = Limit(1000, 2**40)
    return Editor(
        CatalogueSource(settings.experiments),
        DirectModels(),  # type: ignore[arg-type]
        decoders,
        admission=Admission(unlimited, unlimited),
        max_pixels=MAX_PIXELS,
        work_pixels=settings.work_pixels,
        prompts=prompt_rules(settings),
        loras=LoraLists({}, lambda _: False),
        webhooks=Webhooks(None, needed=""),
    )


async def direct(editor: Editor, request: edit_pb2.EditRequest) -> dict[str, float]:
    """Seconds of one edit in this process: total, codec, copy."""
    call = CallContext(request_id="direct", is_id_given=False, is_second_run=False, deadline=None)
    started = time.perf_counter()
    response = await editor.edit(request, call, EventLog())
    total = time.perf_counter() - started
    copy = sum(timing.seconds for timing in response.stage_timings)
    return {"total": total, "codec": total - copy, "copy": copy}


async def orchestrated(client: EditClient, request: edit_pb2.EditRequest, ports: Ports) -> dict[str, float]:
    """Seconds of one edit through the services: total, queue."""
    queued = queue_seconds(ports)
    started = time.perf_counter()
    async for _ in client.edit_stream(request, timeout=600):
        pass
    return {"total": time.perf_counter() - started, "queue": queue_seconds(ports) - queued}


def queue_seconds(ports: Ports) -> float:
    """The total time of jobs waiting for a device."""
    found = 0.0
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for service in ("segmentation", "fill"):
        url = f"http://127.0.0.1:{ports.metrics_port(service)}/metrics"
        lines = direct.open(url, timeout=5).read().decode().splitlines()
        found += sum(float(x.rpartition(" ")[2]) for x in lines if x.startswith("imgedit_queue_wait_seconds_sum"))
    return found


def request_of(megapixels: float, number: int) -> edit_pb2.EditRequest:
    """An edit of a photograph of this size, unlike those of all other numbers."""
    side = math.isqrt(int(megapixels * 1e6))
    portrait = str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    photo = Image.open(portrait).convert("RGB").resize((side, side))
    pixels = np.array(photo)
    pixels[0, 0] = number % 256, number // 256 % 256, 7
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return edit_pb2.EditRequest(
        experiment_id="ben2_flux_fill",
        feature_id="inpainting",
        prompt="a gym",
        seed=number,
        input_image=file.getvalue(),
    )


async def measure(options: argparse.Namespace, ports: Ports) -> list[dict[str, float]]:
    """A row per size."""
    decoders = Decoders(processes=2, seconds=60)
    await decoders.start()
    editor = direct_editor(decoders)
    rows, number = [], 0
    async with EditClient(ports.address("orchestrator"), retries=0) as client:
        for megapixels in options.megapixels:
            pairs = []
            for _ in range(options.rounds + 1):
                number += 1
                request = await asyncio.to_thread(request_of, megapixels, number)
                pairs.append((await orchestrated(client, request, ports), await direct(editor, request)))
            rows.append(row(megapixels, pairs[1:]))  # the first one warms up
            print(line(rows[-1]), flush=True)
    decoders.close()
    return rows


def row(megapixels: float, pairs: list[tuple[dict[str, float], dict[str, float]]]) -> dict[str, float]:
    """Medians in milliseconds."""
    there, here = zip(*pairs, strict=True)
    total, queue = (1000 * statistics.median(run[part] for run in there) for part in ("total", "queue"))
    codec, copy = (1000 * statistics.median(run[part] for run in here) for part in ("codec", "copy"))
    added = 1000 * statistics.median(through["total"] - plain["total"] for through, plain in pairs)
    return {
        "megapixels": megapixels,
        "total_ms": total,
        "codec_ms": codec,
        "copy_ms": copy,
        "queue_ms": queue,
        "rpc_ms": added - queue,
        "added_ms": added,
        "ratio": statistics.median(through["total"] / plain["total"] for through, plain in pairs),
        "on_top_of_models_and_codec_ms": total - codec,
        "share_of_5_s": added / 5000,
    }


def line(row: dict[str, float]) -> str:
    """One row for people."""
    parts = ", ".join(f"{part} {row[f'{part}_ms']:.1f}" for part in PARTS)
    return (
        f"{row['megapixels']:>4g} MP: {row['total_ms']:.0f} ms ({parts}); the services add {row['added_ms']:.1f} ms "
        f"({row['ratio']:.2f} times the work in one process), {row['share_of_5_s']:.2%} of a 5 s edit"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megapixels", type=float, nargs="+", default=[1, 4, 12, 25], help="sizes (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="edits of each kind and size, turn about (%(default)s)")
    parser.add_argument("--serve", choices=SERVICES[1:3], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        raise SystemExit(serve(options.serve))
    ports = Ports.free()
    with services(ports):
        rows = asyncio.run(measure(options, ports))
    print(json.dumps({"benchmark": "overhead", "rounds": options.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
