"""Decoding in subprocesses gives the same pixels and rejects images that break it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image, ImageCms

from imgedit.errors import ImageRejected, ServiceUnavailable
from imgedit.imaging import images
from imgedit.imaging.decode_pool import Decoders
from imgedit.imaging.encoding import encode_png
from imgedit.imaging.images import DEFAULT_MAX_PIXELS, Picture
from tests.hostile import SIGNATURE, chunk, exif_block, ihdr, plain_png, png, saved

pytestmark = pytest.mark.slow

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NOISE = np.random.default_rng(5).integers(0, 256, (120, 90, 4), dtype=np.uint8)
GOOD = encode_png(NOISE[:, :, :3])
SLOW = encode_png(np.multiply.outer(np.arange(4000), np.arange(15_000)).astype(np.uint8).reshape(4000, 5000, 3))
"""Takes a decoder some tenths of a second."""


@asynccontextmanager
async def started(processes: int = 1, seconds: float = 10.0) -> AsyncIterator[Decoders]:
    decoders = Decoders(processes, seconds)
    await decoders.start()
    try:
        yield decoders
    finally:
        decoders.close()


async def opened(decoders: Decoders, data: bytes, field: str = "input_image") -> Picture:
    return await decoders.open(data, field=field, max_pixels=DEFAULT_MAX_PIXELS)


ELSEWHERE: set[int] = set()
"""Decoders that were there before the test, of other tests of this process."""


@pytest.fixture(autouse=True)
def _look_around() -> None:
    ELSEWHERE.clear()
    ELSEWHERE.update(child.pid for child in children())


def children() -> list[psutil.Process]:
    """The decoders that this test started."""
    found = psutil.Process().children()
    return [child for child in found if is_decoder(child) and child.pid not in ELSEWHERE]


def is_decoder(process: psutil.Process) -> bool:
    try:
        return "imgedit.imaging.decode_process" in process.cmdline()
    except psutil.Error:  # it has just ended
        return False


async def until_busy(child: psutil.Process) -> None:
    before = sum(child.cpu_times()[:2])
    while sum(child.cpu_times()[:2]) < before + 0.03:  # noqa: ASYNC110  # of another process
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
async def test_a_picture_has_the_pixels_that_it_has_in_this_process(format: str) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(NOISE if format != "JPEG" else NOISE[:, :, :3]).save(buffer, format, exif=exif)
    here = images.open_untrusted(buffer.getvalue(), field="x")
    async with started() as decoders:
        there = await opened(decoders, buffer.getvalue())
    assert there.size == here.size == (120, 90)
    assert np.array_equal(there.rgb, here.rgb)
    assert (there.alpha is None) == (here.alpha is None)
    assert here.alpha is None or np.array_equal(there.alpha, here.alpha)


async def test_a_refusal_names_the_field_and_costs_no_process() -> None:
    damaged = bytearray(SLOW)
    damaged[-30_000:-20_000] = bytes(10_000)
    async with started() as decoders:
        (child,) = children()
        for data in (b"", b"no picture", GOOD[:-20], bytes(damaged)):
            with pytest.raises(ImageRejected) as caught:
                await opened(decoders, data, "reference_images[1]")
            assert [violation.field for violation in caught.value.violations] == ["reference_images[1]"]
            assert caught.value.message.startswith("reference_images[1]: ")
            assert any("가" <= letter <= "힣" for letter in caught.value.korean)
        assert (await opened(decoders, GOOD)).size == (90, 120)
        assert children() == [child]


async def test_a_refused_picture_is_logged_by_its_hash_and_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with started() as decoders:
        with pytest.raises(ImageRejected):
            await opened(decoders, b"a secret picture", "mask_image")
    (line,) = [entry for entry in caplog.records if entry.message == "picture refused"]
    expected = ("mask_image", 16, hashlib.sha256(b"a secret picture").hexdigest())
    assert (line.field, line.bytes, line.sha256) == expected  # type: ignore[attr-defined]
    assert "secret" not in str(line.__dict__)


async def test_a_picture_that_takes_too_long_is_refused_and_the_next_is_decoded() -> None:
    async with started(seconds=0.1) as decoders:
        with pytest.raises(ImageRejected, match=r"longer than 0\.1 s") as caught:
            await opened(decoders, SLOW, "mask_image")
        assert caught.value.violations[0].field == "mask_image"
        assert (await opened(decoders, GOOD)).size == (90, 120)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
async def test_a_picture_whose_process_is_ended_from_outside_is_decoded_by_another(signum: signal.Signals) -> None:
    async with started() as decoders:
        (child,) = children()
        decoding = asyncio.create_task(opened(decoders, SLOW))
        await until_busy(child)
        child.send_signal(signum)
        assert (await decoding).size == (5000, 4000)
        assert children() != [child]


async def test_a_picture_is_not_blamed_where_its_processes_are_ended_again_and_again() -> None:
    async with started() as decoders:
        decoding = asyncio.create_task(opened(decoders, SLOW))
        killed: list[psutil.Process] = []
        while len(killed) < 2:
            for child in children():
                if child not in killed:
                    await until_busy(child)
                    child.kill()
                    killed.append(child)
            await asyncio.sleep(0.005)
        with pytest.raises(ServiceUnavailable, match=r"input_image: .*send it again") as caught:
            await decoding
        assert any("가" <= letter <= "힣" for letter in caught.value.korean)
        assert (await opened(decoders, GOOD)).size == (90, 120)


@pytest.mark.parametrize("signum", [signal.SIGSEGV, signal.SIGABRT])
async def test_a_picture_over_which_a_library_crashes_is_refused(signum: signal.Signals) -> None:
    async with started() as decoders:
        (child,) = children()
        decoding = asyncio.create_task(opened(decoders, SLOW))
        await until_busy(child)
        child.send_signal(signum)
        with pytest.raises(ImageRejected, match="input_image"):
            await decoding
        assert (await opened(decoders, GOOD)).size == (90, 120)


async def test_nobody_waits_behind_all_pictures_of_another_caller() -> None:
    async with started(2) as decoders:
        theirs = [
            asyncio.create_task(decoders.open(SLOW, field="x", max_pixels=DEFAULT_MAX_PIXELS, caller="greedy"))
            for _ in range(6)
        ]
        await until_busy(children()[0])
        await decoders.open(GOOD, field="x", max_pixels=DEFAULT_MAX_PIXELS, caller="modest")
        assert sum(task.done() for task in theirs) < 3
        await asyncio.gather(*theirs)


async def test_a_process_starts_with_its_first_picture_where_none_was_started_before() -> None:
    decoders = Decoders(2, 10.0)
    assert not children()
    assert (await opened(decoders, GOOD)).size == (90, 120)
    assert len(children()) == 1
    decoders.close()


async def test_a_process_that_died_idle_is_replaced_unseen() -> None:
    async with started(2) as decoders:
        for child in children():
            child.kill()
            child.wait()
        for _ in range(3):
            assert (await opened(decoders, GOOD)).size == (90, 120)
        assert len(children()) == 2


async def test_a_process_that_stands_still_is_ended_and_its_picture_decoded_by_another() -> None:
    async with started(seconds=0.2) as decoders:
        (child,) = children()
        child.send_signal(signal.SIGSTOP)
        assert (await opened(decoders, GOOD)).size == (90, 120)
        assert children() != [child]


async def test_a_picture_that_needs_too_much_memory_is_refused_and_the_next_is_decoded() -> None:
    async with started() as decoders:
        (child,) = children()
        room = child.memory_info().vms + 20_000_000
        resource.prlimit(child.pid, resource.RLIMIT_AS, (room, room))
        with pytest.raises(ImageRejected, match="within the limits"):
            await opened(decoders, SLOW)
        assert (await opened(decoders, GOOD)).size == (90, 120)


async def test_memory_is_limited_by_the_pixels_that_the_header_tells() -> None:
    async with started() as decoders:
        limits = []
        for data in (GOOD, SLOW):
            await opened(decoders, data)
            limits.append(resource.prlimit(children()[0].pid, resource.RLIMIT_DATA)[0])
    assert limits[0] < 400_000_000
    assert limits[1] - limits[0] == pytest.approx(24 * 4000 * 5000, rel=0.2)


async def test_a_decoder_knows_no_secret_and_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGEDIT_ORCHESTRATOR_TOKENS", "a secret")
    async with started():
        (child,) = children()
        assert "a secret" not in str(child.environ())
        assert resource.prlimit(child.pid, resource.RLIMIT_FSIZE) == (0, 0)
        assert resource.prlimit(child.pid, resource.RLIMIT_CORE) == (0, 0)


async def test_pictures_are_decoded_beside_each_other_and_none_is_mixed_up() -> None:
    pictures = [np.full((16 + i, 32, 3), i, np.uint8) for i in range(20)]
    async with started(3) as decoders:
        found = await asyncio.gather(*(opened(decoders, encode_png(rgb)) for rgb in pictures))
    assert all(np.array_equal(one.rgb, rgb) for one, rgb in zip(found, pictures, strict=True))


async def test_decoders_end_with_their_parent() -> None:
    async with started(2):
        ours = children()
        assert len(ours) == 2
    assert not any(child.is_running() for child in ours)
    # And where the parent has no time to end them: the closed socket does.
    parent = Path(__file__).with_name("decoder_parent.py")
    process = await asyncio.create_subprocess_exec(sys.executable, str(parent), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    child = psutil.Process(int(await process.stdout.readline()))
    process.kill()
    await process.wait()
    await asyncio.to_thread(psutil.wait_procs, [child], 10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


SEEDS = {
    "PNG": lambda image: saved("PNG", image, exif=exif_block(6)),
    "palette PNG": lambda image: saved("PNG", image.quantize(16), transparency=3),
    "16-bit PNG": lambda image: png(header=ihdr(64, 64, 16, 6), rows=(b"\4" + image.tobytes()[:512]) * 64),
    "interlaced PNG": lambda image: plain_png(64, 64, 8, 2, 1),
    "JPEG": lambda image: saved("JPEG", image.convert("RGB"), exif=exif_block(3), icc_profile=SRGB),
    "progressive JPEG": lambda image: saved("JPEG", image.convert("CMYK"), progressive=True),
    "WebP": lambda image: saved("WEBP", image),
    "lossless WebP": lambda image: saved("WEBP", image, lossless=True, exif=exif_block(8), icc_profile=SRGB),
}


def mutated(rng: np.random.Generator, data: bytes) -> bytes:
    """One file, spoilt: bytes changed, cut out, doubled, or the end lost.

    A PNG's checksums are often put right.
    """
    spoilt = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(0, len(spoilt)))
        length = int(rng.integers(1, 40))
        match rng.integers(0, 6):
            case 0 | 1:
                spoilt[place] = rng.integers(0, 256)
            case 2:
                spoilt[place : place + length] = rng.bytes(length)
            case 3:
                del spoilt[place : place + length]
            case 4:
                spoilt[place:place] = spoilt[place : place + length]
            case 5:
                spoilt[place : place + 4] = b"\xff\xff\xff\xff"
    if rng.integers(0, 20) == 0:
        del spoilt[int(rng.integers(8, len(spoilt))) :]
    return with_right_checksums(bytes(spoilt)) if rng.integers(0, 4) else bytes(spoilt)


def with_right_checksums(data: bytes) -> bytes:
    place, parts = 8, [data[:8]]
    while data.startswith(SIGNATURE) and place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        parts.append(chunk(data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return b"".join(parts) if len(parts) > 1 else data


async def test_spoilt_files_are_refused_or_decoded_and_nothing_else_happens() -> None:
    rng = np.random.default_rng(2026)
    image = Image.fromarray(rng.integers(0, 256, (64, 64, 4), dtype=np.uint8))
    seeds = [make(image) for make in SEEDS.values()]
    files = [mutated(rng, seeds[i % len(seeds)]) for i in range(320)]
    async with started(2) as decoders:
        for seed in seeds:
            assert (await opened(decoders, seed)).size == (64, 64)
        before = children()
        results = await asyncio.gather(*(opened(decoders, data) for data in files), return_exceptions=True)
        assert children() == before, "no decoder was lost"
        assert (await opened(decoders, GOOD)).size == (90, 120)
    kinds = {type(result) for result in results}
    assert kinds == {Picture, ImageRejected}, kinds
    for result in results:
        if isinstance(result, ImageRejected):
            assert [violation.field for violation in result.violations] == ["input_image"]
        else:
            assert isinstance(result, Picture)
            assert result.rgb.shape == (*result.size[::-1], 3)
            assert result.alpha is None or result.alpha.shape == result.size[::-1]
    assert sum(isinstance(result, Picture) for result in results) > 20, "some get past the container"
