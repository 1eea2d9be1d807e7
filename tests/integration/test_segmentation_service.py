"""The segmentation service as its callers see it.

A real server on a free port, with a tiny BEN2 of the real class.
"""

from __future__ import annotations

import asyncio
import io
import os
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from prometheus_client import REGISTRY

from demo.tiny import ben2 as tiny
from imgedit.call_errors import error_of
from imgedit.channels import CHANNEL_OPTIONS
from imgedit.errors import (
    DeadlineExceeded,
    ImageRejected,
    InternalError,
    InvalidArgument,
    ModelLoadError,
    OutOfMemory,
    QueueFull,
    SettingsError,
)
from imgedit.imaging import images
from imgedit.imaging.images import Pixels
from imgedit.inference.v1 import image_pb2, segmentation_pb2, segmentation_pb2_grpc
from services.common import pixels
from services.common.server import RunningServer
from services.segmentation import model as model_module
from services.segmentation.__main__ import make_service
from services.segmentation.ben2 import cpu
from services.segmentation.foreground import estimate_foreground
from services.segmentation.model import Network, Segmenter
from services.segmentation.settings import SegmentationSettings

pytestmark = pytest.mark.slow

MASK = segmentation_pb2.SEGMENT_OUTPUT_MASK
CUTOUT = segmentation_pb2.SEGMENT_OUTPUT_CUTOUT
FOREGROUND = segmentation_pb2.SEGMENT_OUTPUT_FOREGROUND
SIDE = tiny.CONFIG.image_size


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "BEN2").mkdir()
    tiny.build(folder / "BEN2", seed=20250901)
    return folder


@pytest.fixture(scope="module")
def segmenter(models: Path) -> Segmenter:
    """The reference result."""
    return Segmenter.load(models / "BEN2", device="cpu", precision="fp32")


def picture(width: int = 90, height: int = 70, *, seed: int = 0) -> Pixels:
    """A bright disc on a dark ground, with noise that the seed decides."""
    ys, xs = np.mgrid[:height, :width]
    inside = np.hypot(ys - height / 2, xs - width / 2) < min(width, height) / 3
    noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
    return np.where(inside[..., None], (200, 60, 40), (30, 90, 150)).astype(np.uint8) + noise.astype(np.uint8)


@dataclass
class Spy:
    """Stands before the prepared network.

    Counts its runs, holds them at a gate, or makes them fail.
    """

    runs: int = 0
    faults: list[Exception] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    work: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self.gate.set()

    def around(self, run: Network) -> Network:
        def observed(x: torch.Tensor) -> torch.Tensor:
            self.runs += 1
            self.begun.set()
            self.gate.wait(20)
            self.work()
            if self.faults:
                raise self.faults.pop(0)
            return run(x)

        return observed

    async def hold(self) -> None:
        """Let the next run stop at the gate."""
        self.gate.clear()
        self.begun.clear()

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 20)


@dataclass
class Client:
    """A stub, and the spy behind it."""

    server: RunningServer
    channel: grpc.aio.Channel
    spy: Spy

    def call(self, image: Pixels | image_pb2.Image, timeout: float | None = 20, **fields: Any) -> Any:
        """The call object of Segment."""
        message = pixels.to_message(image) if isinstance(image, np.ndarray) else image
        request = segmentation_pb2.SegmentRequest(image=message, **fields)
        return segmentation_pb2_grpc.SegmentationServiceStub(self.channel).Segment(request, timeout=timeout)

    async def segment(
        self, image: Pixels | image_pb2.Image, timeout: float | None = 20, **fields: Any
    ) -> segmentation_pb2.SegmentResponse:
        """The answer. Raises the `ImgeditError` that the service raised."""
        try:
            return await self.call(image, timeout, **fields)  # type: ignore[no-any-return]
        except grpc.aio.AioRpcError as raised:
            raise error_of(raised, "the server") from None

    async def mask(self, image: Pixels | image_pb2.Image) -> Pixels:
        """The mask alone."""
        return pixels.decode_answer((await self.segment(image)).mask)


Serve = Callable[..., Any]


@pytest.fixture
def serve(models: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """`async with serve(setting=…) as client`."""

    @asynccontextmanager
    async def serving(**settings: Any) -> AsyncIterator[Client]:
        spy, prepare = Spy(), model_module.prepare
        monkeypatch.setattr(model_module, "prepare", lambda *args, **kwargs: spy.around(prepare(*args, **kwargs)))
        server = server_of(models=models, **settings)
        await server.start()
        spy.runs = 0
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=CHANNEL_OPTIONS) as channel:
                yield Client(server, channel, spy)
        finally:
            spy.gate.set()
            await server.drain()
            monkeypatch.setattr(model_module, "prepare", prepare)

    return serving


def server_of(**settings: Any) -> RunningServer:
    quick: dict[str, Any] = {"port": 0, "metrics_port": 0, "drain_seconds": 0, "grace_seconds": 5, "device": "cpu"}
    chosen = SegmentationSettings(**{**quick, "precision": "fp32", **settings})
    return RunningServer(make_service(chosen), chosen)


def opened(message: image_pb2.Image) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(message.data)))


def encoded(image: Pixels, form: str, encoding: image_pb2.Encoding, **options: Any) -> image_pb2.Image:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **options)
    return image_pb2.Image(data=buffer.getvalue(), encoding=encoding)


png = partial(encoded, form="PNG", encoding=image_pb2.ENCODING_PNG)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def eventually(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends, "not in time"
        await asyncio.sleep(0.005)


# The pictures


@pytest.mark.parametrize("size", [(90, 70), (SIDE, SIDE), (333, 77)])
async def test_the_mask_is_the_networks_alpha_at_the_pictures_size(
    serve: Serve, segmenter: Segmenter, size: tuple[int, int]
) -> None:
    async with serve() as client:
        response = await client.segment(picture(*size))
    assert response.mask.encoding == image_pb2.ENCODING_RAW_L8
    assert (response.mask.width, response.mask.height) == size
    assert not response.HasField("cutout")
    assert (response.model.model_id, response.model.revision) == ("BEN2", segmenter.revision)
    mask, alpha = pixels.decode_answer(response.mask), segmenter.alpha(picture(*size))
    assert np.abs(mask / 255 - alpha).max() <= 0.5 / 255 + 1e-6
    assert 0.05 < (mask > 127).mean() < 0.95


async def test_the_cutout_is_the_picture_with_the_mask_as_its_alpha(serve: Serve) -> None:
    async with serve() as client:
        response = await client.segment(picture(), outputs=[MASK, CUTOUT])
    cut = opened(response.cutout)
    assert cut.shape == (70, 90, 4)
    assert np.array_equal(cut[:, :, :3], picture())
    assert np.array_equal(cut[:, :, 3], pixels.decode_answer(response.mask))
    assert {timing.name for timing in response.timings} == {"queue", "network", "cutout"}


@pytest.mark.parametrize("rgb", [0xFFFFFF, 0x1E90FF, 0])
async def test_the_cutout_lies_on_the_ground_that_was_asked_for(serve: Serve, rgb: int) -> None:
    async with serve() as client:
        response = await client.segment(picture(), outputs=[MASK, CUTOUT], cutout_ground_rgb=rgb)
    colour = np.array([rgb >> 16, rgb >> 8 & 255, rgb & 255])
    share = pixels.decode_answer(response.mask)[:, :, None] / 255
    cut = opened(response.cutout)
    assert cut.shape == (70, 90, 3)
    assert np.abs(cut - (picture() * share + colour * (1 - share))).max() <= 0.5 + 1e-6


async def test_refined_colours_are_those_of_the_subject(serve: Serve) -> None:
    async with serve() as client:
        response = await client.segment(picture(), outputs=[MASK, CUTOUT], refine_foreground=True)
    alpha = pixels.decode_answer(response.mask).astype(np.float32) / np.float32(255)
    assert np.array_equal(opened(response.cutout)[:, :, :3], estimate_foreground(picture(), alpha))


async def test_the_foreground_is_the_picture_with_the_subjects_colours_at_soft_edges(serve: Serve) -> None:
    async with serve() as client:
        response = await client.segment(picture(), outputs=[MASK, FOREGROUND])
        alone = await client.segment(picture(), outputs=[FOREGROUND])
    mask, foreground = pixels.decode_answer(response.mask), pixels.decode_answer(response.foreground)
    hard, soft = (mask == 0) | (mask == 255), (mask > 0) & (mask < 255)
    assert response.foreground.encoding == image_pb2.ENCODING_RAW_RGB8
    assert np.array_equal(foreground[hard], picture()[hard])
    estimated = estimate_foreground(picture(), mask.astype(np.float32) / np.float32(255))
    assert soft.any()
    assert np.array_equal(foreground[soft], estimated[soft])
    assert "foreground" in {timing.name for timing in response.timings}
    assert alone.foreground == response.foreground
    assert not alone.HasField("mask")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cutout_ground_rgb": 0xFFFFFF}, "cutout_ground_rgb"),
        ({"cutout_ground_rgb": 0, "outputs": [MASK]}, "cutout_ground_rgb"),
        ({"cutout_ground_rgb": 0x1000000, "outputs": [CUTOUT]}, "cutout_ground_rgb"),
        ({"refine_foreground": True}, "refine_foreground"),
        ({"outputs": [0]}, "outputs"),
    ],
)
async def test_an_option_without_effect_or_out_of_range_is_refused_by_name(
    serve: Serve, fields: dict[str, Any], named: str
) -> None:
    async with serve() as client:
        with pytest.raises(InvalidArgument) as caught:
            await client.segment(picture(), **fields)
        assert [violation.field for violation in caught.value.violations] == [named]
        assert client.spy.runs == 0


async def test_raw_pixels_and_a_png_of_them_have_the_same_mask(serve: Serve) -> None:
    async with serve(cache_bytes=0) as client:
        assert np.array_equal(await client.mask(picture()), await client.mask(png(picture())))
        assert client.spy.runs == 2


async def test_the_turn_that_a_jpegs_exif_asks_for_is_done_before_the_network_looks(serve: Serve) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    turned = encoded(picture(), "JPEG", image_pb2.ENCODING_JPEG, exif=exif.tobytes())
    upright = images.open_untrusted(turned.data, field="image").rgb
    async with serve(cache_bytes=0) as client:
        mask = await client.mask(turned)
        assert mask.shape == (90, 70)
        assert np.array_equal(mask, await client.mask(upright))


async def test_bytes_that_are_no_picture_are_refused_and_the_next_one_works(serve: Serve) -> None:
    async with serve() as client:
        with pytest.raises(ImageRejected, match="image: not a PNG, JPEG or WebP file"):
            await client.segment(image_pb2.Image(data=b"GIF89a", encoding=image_pb2.ENCODING_PNG))
        assert (await client.mask(picture())).shape == (70, 90)


@pytest.mark.parametrize("level", [0, 128, 255])
async def test_a_picture_of_one_colour_has_a_mask_without_a_subject(serve: Serve, level: int) -> None:
    async with serve() as client:
        response = await client.segment(
            np.full((64, 80, 3), level, np.uint8), outputs=[MASK, CUTOUT], refine_foreground=True
        )
    assert pixels.decode_answer(response.mask).max() < 128


# Faults


async def test_out_of_memory_comes_with_advice_and_the_next_request_works(serve: Serve) -> None:
    async with serve() as client:
        client.spy.faults.append(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB"))
        with pytest.raises(OutOfMemory, match="smaller picture") as caught:
            await client.segment(picture())
        assert "2048 → 1024" in caught.value.message
        assert "2048 → 1024" in caught.value.korean
        assert (await client.mask(picture())).any()


async def test_a_half_precision_mask_that_is_not_finite_is_made_again_and_counted(
    serve: Serve, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = torch.full((1, 1, SIDE, SIDE), torch.nan)
    monkeypatch.setattr(model_module, "PreparedBEN2", lambda *_: lambda _: nothing)
    async with serve(precision="bf16") as client:
        before = sample("imgedit_segmentation_precision_retries_total")
        mask = await client.mask(picture())
    assert sample("imgedit_segmentation_precision_retries_total") == before + 1
    assert np.abs(mask / 255 - segmenter.alpha(picture())).max() < 0.01


async def test_a_mask_that_is_never_finite_is_an_internal_error_and_the_next_request_works(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors: list[float] = []
    prepared = cpu.PreparedBEN2

    def sometimes_not_finite(*args: Any) -> Network:
        run = prepared(*args)
        return lambda x: run(x) * (factors.pop() if factors else 1)

    monkeypatch.setattr(model_module, "PreparedBEN2", sometimes_not_finite)
    async with serve() as client:
        factors.append(float("nan"))
        with pytest.raises(InternalError, match="the mask is not finite, in float32 either") as caught:
            await client.segment(picture())
        assert caught.value.request_id
        assert (await client.mask(picture())).any()


async def test_an_unknown_fault_says_nothing_of_the_inside_and_the_next_request_works(serve: Serve) -> None:
    async with serve() as client:
        client.spy.faults.append(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        with pytest.raises(InternalError, match=r"^internal error; quote request id [0-9a-f]{32}$"):
            await client.segment(picture())
        assert (await client.mask(picture())).any()


async def test_a_start_without_weights_or_with_damaged_ones_names_the_file(models: Path, tmp_path: Path) -> None:
    (tmp_path / "BEN2").mkdir()
    with pytest.raises(ModelLoadError, match=r"no folder .*/elsewhere"):
        await refused_start(models=models, folder="elsewhere")
    whole = (models / "BEN2" / "model.safetensors").read_bytes()
    (tmp_path / "BEN2" / "model.safetensors").write_bytes(whole[:-1000])
    with pytest.raises(ModelLoadError, match=r"BEN2/model\.safetensors is not a safetensors file"):
        await refused_start(models=tmp_path)


async def test_a_start_in_a_precision_that_the_device_lacks_is_refused(models: Path) -> None:
    with pytest.raises(SettingsError, match="precision 'fp16' is not one of auto, fp32, bf16"):
        await refused_start(models=models, precision="fp16")


async def refused_start(**settings: Any) -> None:
    server = server_of(**settings)
    try:
        await server.start()
    finally:
        await server.drain()


def test_a_refused_start_ends_the_process_with_one_line(tmp_path: Path) -> None:
    settings = {"MODELS": str(tmp_path), "PORT": "0", "METRICS_PORT": "0"}
    environment = {**os.environ, **{f"IMGEDIT_SEGMENTATION_{name}": value for name, value in settings.items()}}
    command = [sys.executable, "-m", "services.segmentation"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"error: BEN2 weights: no folder {tmp_path}/BEN2; it should hold model.safetensors or BEN2_Base.pth\n"
    )


# The mask cache


async def test_the_second_edit_of_a_picture_costs_no_inference(serve: Serve) -> None:
    async with serve() as client:
        before = {result: sample("imgedit_mask_cache_lookups_total", result=result) for result in ("hit", "miss")}
        first = await client.segment(picture())
        second = await client.segment(png(picture()), outputs=[MASK, CUTOUT])
        assert client.spy.runs == 1
        assert (first.cache_hit, second.cache_hit) == (False, True)
        assert second.mask == first.mask
        assert {timing.name for timing in second.timings} == {"cutout"}
        for result, count in before.items():
            assert sample("imgedit_mask_cache_lookups_total", result=result) == count + 1
        assert sample("imgedit_mask_cache_bytes") == 70 * 90


async def test_another_picture_has_a_mask_of_its_own(serve: Serve) -> None:
    async with serve() as client:
        for image in (picture(seed=1), picture(seed=2), picture(70, 90)):
            assert not (await client.segment(image)).cache_hit
        assert client.spy.runs == 3


async def test_the_cache_is_bounded_in_bytes_and_forgets_the_least_recently_used(serve: Serve) -> None:
    async with serve(cache_bytes=2 * 70 * 90) as client:
        hits = [(await client.segment(picture(seed=seed))).cache_hit for seed in (1, 2, 1, 3, 1, 2)]
        assert hits == [False, False, True, False, True, False]
        assert sample("imgedit_mask_cache_bytes") == 2 * 70 * 90


async def test_a_cache_of_no_bytes_remembers_nothing(serve: Serve) -> None:
    async with serve(cache_bytes=0) as client:
        assert not any([(await client.segment(picture())).cache_hit for _ in range(2)])
        assert client.spy.runs == 2


async def test_two_simultaneous_requests_for_a_picture_run_the_network_once(serve: Serve) -> None:
    async with serve(cache_bytes=0) as client:
        await client.spy.hold()
        first = asyncio.create_task(client.segment(picture()))
        await client.spy.has_begun()
        shared = sample("imgedit_mask_cache_lookups_total", result="shared")
        second = asyncio.create_task(client.segment(picture()))
        await eventually(lambda: sample("imgedit_mask_cache_lookups_total", result="shared") > shared)
        client.spy.gate.set()
        answers = await asyncio.gather(first, second)
        assert client.spy.runs == 1
        assert [answer.cache_hit for answer in answers] == [False, True]
        assert answers[0].mask == answers[1].mask


async def test_a_caller_that_goes_away_does_not_take_the_mask_from_another(serve: Serve) -> None:
    async with serve() as client:
        await client.spy.hold()
        leader = client.call(picture())
        await client.spy.has_begun()
        shared = sample("imgedit_mask_cache_lookups_total", result="shared")
        follower = asyncio.create_task(client.segment(picture()))
        await eventually(lambda: sample("imgedit_mask_cache_lookups_total", result="shared") > shared)
        leader.cancel()
        await eventually(lambda: sample("imgedit_rpc_in_flight", service="segmentation", rpc="Segment") == 1)
        client.spy.gate.set()
        assert (await follower).mask.data
        assert client.spy.runs == 1


async def test_simultaneous_requests_share_a_failure_each_under_its_own_id(serve: Serve) -> None:
    async with serve() as client:
        await client.spy.hold()
        client.spy.faults.append(MemoryError())
        first = asyncio.create_task(client.segment(picture()))
        await client.spy.has_begun()
        shared = sample("imgedit_mask_cache_lookups_total", result="shared")
        second = asyncio.create_task(client.segment(picture()))
        await eventually(lambda: sample("imgedit_mask_cache_lookups_total", result="shared") > shared)
        client.spy.gate.set()
        errors = await asyncio.gather(first, second, return_exceptions=True)
        assert all(isinstance(error, OutOfMemory) for error in errors)
        assert len({error.request_id for error in errors if isinstance(error, OutOfMemory)}) == 2
        assert client.spy.runs == 1


# The queue


def depth() -> float:
    return sample("imgedit_queue_depth", service="segmentation")


async def busy(client: Client) -> asyncio.Task[segmentation_pb2.SegmentResponse]:
    """A request that holds the device until the gate opens."""
    await client.spy.hold()
    running = asyncio.create_task(client.segment(picture(seed=100)))
    await client.spy.has_begun()
    return running


async def test_a_full_queue_refuses_and_says_when_to_retry(serve: Serve) -> None:
    async with serve(max_waiting=1) as client:
        running = await busy(client)
        waiting = asyncio.create_task(client.segment(picture(seed=1)))
        await eventually(lambda: depth() == 1)
        with pytest.raises(QueueFull, match="1 jobs wait already") as caught:
            await client.segment(picture(seed=2))
        assert caught.value.retry_after_seconds
        assert caught.value.retry_after_seconds >= 1
        client.spy.gate.set()
        await asyncio.gather(running, waiting)
        assert client.spy.runs == 2


async def test_a_remembered_mask_is_answered_while_the_queue_is_full(serve: Serve) -> None:
    async with serve(max_waiting=1) as client:
        await client.segment(picture(seed=7))
        running = await busy(client)
        waiting = asyncio.create_task(client.segment(picture(seed=1)))
        await eventually(lambda: depth() == 1)
        assert (await client.segment(picture(seed=7))).cache_hit
        client.spy.gate.set()
        await asyncio.gather(running, waiting)


async def test_a_request_whose_deadline_passes_while_it_waits_is_never_run(serve: Serve) -> None:
    async with serve() as client:
        running = await busy(client)
        with pytest.raises(DeadlineExceeded):
            await client.segment(picture(seed=1), timeout=0.2)
        client.spy.gate.set()
        await running
        await client.segment(picture(seed=2))
        assert client.spy.runs == 2


async def test_a_request_that_is_cancelled_while_it_waits_gives_its_place_away(serve: Serve) -> None:
    async with serve(max_waiting=1) as client:
        running = await busy(client)
        twins = [client.call(picture(seed=1)) for _ in range(2)]
        await eventually(lambda: sample("imgedit_rpc_in_flight", service="segmentation", rpc="Segment") == 3)
        await eventually(lambda: depth() == 1)
        for call in twins:
            call.cancel()
        await eventually(lambda: depth() == 0)
        patient = asyncio.create_task(client.segment(picture(seed=2)))
        await eventually(lambda: depth() == 1)
        client.spy.gate.set()
        await asyncio.gather(running, patient)
        assert client.spy.runs == 2


async def test_a_patient_request_is_answered_though_an_impatient_one_asked_first(serve: Serve) -> None:
    async with serve() as client:
        running = await busy(client)
        hasty = asyncio.create_task(client.segment(picture(seed=1), timeout=0.3))
        await eventually(lambda: depth() == 1)
        patient = asyncio.create_task(client.segment(picture(seed=1)))
        with pytest.raises(DeadlineExceeded):
            await hasty
        assert depth() == 1
        client.spy.gate.set()
        assert (await patient).cache_hit
        await running
        assert client.spy.runs == 2


# Health and metrics


async def test_health_answers_quickly_while_the_network_works(serve: Serve) -> None:
    a = torch.rand(1000, 1000)
    done = threading.Event()

    def multiply() -> None:
        while not done.is_set():
            torch.mm(a, a)

    async with serve() as client:
        client.spy.work = multiply
        stub = health_pb2_grpc.HealthStub(client.channel)
        running = asyncio.create_task(client.segment(picture()))
        await client.spy.has_begun()
        times = []
        for _ in range(15):
            started = time.perf_counter()
            answer = await stub.Check(health_pb2.HealthCheckRequest(service="imgedit.inference.v1.SegmentationService"))
            times.append(time.perf_counter() - started)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert not running.done()
        done.set()
        await running
    assert statistics.median(times) < 0.5  # some milliseconds where the cores are not shared


async def test_the_services_metrics_are_on_its_page(serve: Serve) -> None:
    async with serve() as client:
        await client.segment(picture())
        page = f"http://127.0.0.1:{client.server.metrics_port}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(page, timeout=10).read().decode())
    for line in (
        'imgedit_mask_cache_lookups_total{result="shared"}',
        "imgedit_mask_cache_bytes 6300.0",
        "imgedit_segmentation_precision_retries_total",
        'imgedit_queue_depth{service="segmentation"} 0.0',
    ):
        assert line in text
