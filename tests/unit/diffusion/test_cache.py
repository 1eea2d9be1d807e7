"""The byte-bounded cache, and the mask cache that runs the network once per image."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable

import numpy as np
import pytest
from prometheus_client import REGISTRY

from imgedit.errors import OutOfMemory
from services.common.cache import ByteCache, content_key
from services.segmentation.mask_cache import Deadline, Found, MaskCache


def cache(max_bytes: int) -> ByteCache[str, bytes]:
    return ByteCache(max_bytes, len)


def test_a_value_is_remembered_by_its_key() -> None:
    found = cache(10)
    found.put("a", b"12345")
    assert found.get("a") == b"12345"
    assert found.get("b") is None
    assert found.nbytes == 5


def test_the_least_recently_used_value_goes_first() -> None:
    found = cache(10)
    for key in "ab":
        found.put(key, b"12345")
    found.get("a")
    found.put("c", b"12345")
    assert [found.get(key) is None for key in "abc"] == [False, True, False]
    assert found.nbytes == 10


def test_a_value_replaces_the_old_one_of_its_key() -> None:
    found = cache(10)
    found.put("a", b"12345")
    found.put("a", b"12")
    assert found.get("a") == b"12"
    assert found.nbytes == 2


@pytest.mark.parametrize("limit", [0, 4])
def test_what_is_larger_than_the_cache_is_not_kept_and_drives_nothing_out(limit: int) -> None:
    found = cache(limit)
    found.put("small", b"1"[:limit])
    found.put("large", b"12345")
    assert found.get("large") is None
    assert found.get("small") is not None
    assert found.nbytes <= limit


def test_clearing_forgets_everything() -> None:
    found = cache(10)
    found.put("a", b"12345")
    found.clear()
    assert found.get("a") is None
    assert found.nbytes == 0


def test_threads_may_share_a_cache() -> None:
    found = cache(50)

    def use(seed: int) -> None:
        for i in range(2000):
            key = str((i * seed) % 30)
            found.put(key, b"1" * (i % 20))
            found.get(key)

    threads = [threading.Thread(target=use, args=(seed,)) for seed in (7, 11, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.nbytes == sum(len(found.get(str(i)) or b"") for i in range(30)) <= 50


def test_content_keys_tell_contents_shapes_and_types_apart() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    others = [pixels[::-1], pixels.reshape(4, 2, 3), pixels.astype(np.int8)]
    assert content_key(pixels) == content_key(pixels.copy())
    assert len({content_key(array) for array in (pixels, *others)}) == 4


class Network:
    """Makes masks, slowly when a gate is shut.

    Counts how often it was asked and how often it was stopped.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.runs = self.stopped = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.latest: Deadline = lambda: 0.0

    async def make(self, latest: Deadline) -> Found:
        self.runs += 1
        self.latest = latest
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        if self.error:
            raise self.error
        return Found(np.full((4, 4), 7, np.uint8), {"network": 1.0})


def lookups(result: str) -> float:
    return REGISTRY.get_sample_value("imgedit_mask_cache_lookups_total", {"result": result}) or 0.0


async def started(*calls: Awaitable[Found]) -> list[asyncio.Task[Found]]:
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0.01)
    return tasks  # type: ignore[return-value]


async def test_a_remembered_mask_needs_no_network() -> None:
    masks, network = MaskCache(1000), Network()
    before = {result: lookups(result) for result in ("hit", "miss")}
    first = await masks.get("a", network.make, deadline=None)
    second = await masks.get("a", network.make, deadline=None)
    assert network.runs == 1
    assert (first.cache_hit, second.cache_hit) == (False, True)
    assert second.mask is first.mask
    assert not second.seconds
    assert {result: lookups(result) - before[result] for result in before} == {"hit": 1, "miss": 1}
    assert REGISTRY.get_sample_value("imgedit_mask_cache_bytes") == 16
    with pytest.raises(ValueError, match="read-only"):
        second.mask[0, 0] = 0


async def test_a_cache_of_no_bytes_remembers_nothing() -> None:
    masks, network = MaskCache(0), Network()
    for _ in range(2):
        assert not (await masks.get("a", network.make, deadline=None)).cache_hit
    assert network.runs == 2


async def test_simultaneous_requests_for_one_picture_run_the_network_once() -> None:
    masks, network = MaskCache(0), Network()
    network.gate.clear()
    waiting = await started(*(masks.get("a", network.make, deadline=None) for _ in range(3)))
    network.gate.set()
    found = await asyncio.gather(*waiting)
    assert network.runs == 1
    assert [one.cache_hit for one in found] == [False, True, True]


@pytest.mark.parametrize("leaver", [0, 1])
async def test_whoever_leaves_does_not_take_the_mask_from_the_other(leaver: int) -> None:
    masks, network = MaskCache(1000), Network()
    network.gate.clear()
    waiting = await started(*(masks.get("a", network.make, deadline=None) for _ in range(2)))
    waiting[leaver].cancel()
    await asyncio.sleep(0.01)
    network.gate.set()
    assert (await waiting[1 - leaver]).mask[0, 0] == 7
    assert (network.runs, network.stopped) == (1, 0)


async def test_when_the_last_one_leaves_the_making_stops_and_the_next_one_starts_anew() -> None:
    masks, network = MaskCache(1000), Network()
    network.gate.clear()
    waiting = await started(*(masks.get("a", network.make, deadline=None) for _ in range(2)))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    network.gate.set()
    assert not (await masks.get("a", network.make, deadline=None)).cache_hit
    assert (network.runs, network.stopped) == (2, 1)


async def test_a_failure_reaches_all_who_wait_each_with_an_error_of_its_own_and_is_not_remembered() -> None:
    masks, network = MaskCache(1000), Network(OutOfMemory("full", retry_after_seconds=2, metadata={"a": "b"}))
    network.gate.clear()
    waiting = await started(*(masks.get("a", network.make, deadline=None) for _ in range(2)))
    network.gate.set()
    first, second = await asyncio.gather(*waiting, return_exceptions=True)
    for error in (first, second):
        assert isinstance(error, OutOfMemory)
        assert (error.message, error.retry_after_seconds, error.metadata) == ("full", 2, {"a": "b"})
    assert isinstance(first, OutOfMemory)
    assert isinstance(second, OutOfMemory)
    assert first.metadata is not second.metadata
    network.error = None
    assert (await masks.get("a", network.make, deadline=None)).mask[0, 0] == 7


async def test_the_work_is_wanted_until_the_last_deadline_of_those_who_wait() -> None:
    masks, network = MaskCache(1000), Network()
    network.gate.clear()
    soon, later = time.monotonic() + 10, time.monotonic() + 20
    waiting = await started(*(masks.get("a", network.make, deadline=when) for when in (soon, later)))
    assert network.latest() == later
    waiting[1].cancel()
    await asyncio.sleep(0.01)
    assert network.latest() == soon
    patient = await started(masks.get("a", network.make, deadline=None))
    assert network.latest() == float("inf")
    network.gate.set()
    await asyncio.gather(waiting[0], *patient)

    masks, network = MaskCache(1000), Network()
    await asyncio.gather(*(masks.get(key, network.make, deadline=None) for key in "abc"))
    assert network.runs == 3
