"""The conditioning cache.

Bounded, by content, and without any influence on the numbers.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from prometheus_client import REGISTRY

from services.diffusion.networks.conditioning_cache import ConditioningCache, Tensors, content_key
from services.fill.model import load as load_fill
from services.qwen_edit.model import load as load_qwen
from tests.support.engine import SMALL, box_mask, checkpoint, fill, fill_spec, photo, qwen, qwen_spec


def kilobyte() -> Tensors:
    return (torch.zeros(256),)


def never() -> Tensors:
    raise AssertionError("made again")


def lookups(service: str, kind: str, result: str) -> float:
    labels = {"service": service, "kind": kind, "result": result}
    return REGISTRY.get_sample_value("imgedit_engine_cache_lookups_total", labels) or 0.0


def test_an_entry_is_made_once() -> None:
    cache = ConditioningCache("test", 4096)
    made = cache.get("prompt", "a", kilobyte)
    assert cache.get("prompt", "a", never) is made
    assert cache.nbytes == 1024


def test_the_least_recently_used_entry_goes_first() -> None:
    cache = ConditioningCache("test", 2048)
    for key in ("a", "b"):
        cache.get("prompt", key, kilobyte)
    cache.get("prompt", "a", never)
    cache.get("prompt", "c", kilobyte)
    cache.get("prompt", "a", never)
    with pytest.raises(AssertionError, match="made again"):
        cache.get("prompt", "b", never)
    assert cache.nbytes <= 2048


@pytest.mark.parametrize("limit", [0, 1023])
def test_what_does_not_fit_is_not_remembered(limit: int) -> None:
    cache = ConditioningCache("test", limit)
    cache.get("image", "a", kilobyte)
    assert cache.nbytes == 0


def test_a_failure_is_not_remembered() -> None:
    cache = ConditioningCache("test", 4096)
    with pytest.raises(AssertionError):
        cache.get("prompt", "a", never)
    assert cache.get("prompt", "a", kilobyte)


def test_content_keys_tell_contents_shapes_and_types_apart() -> None:
    image = photo()
    assert content_key(image) == content_key(image.copy())
    others: list[Callable[[], np.ndarray]] = [
        lambda: image[::-1],
        lambda: image.reshape(96, 64, 3),
        lambda: image.astype(np.int8),
    ]
    assert len({content_key(image), *(content_key(other()) for other in others)}) == 4


def test_another_seed_of_the_same_fill_encodes_nothing_and_equals_an_uncached_run() -> None:
    cached = load_fill(checkpoint("FLUX.1-Fill-dev"), device="cpu")
    cached.prepare(fill_spec(seed=1, negative_prompt="blurry"))
    before = {kind: lookups("fill", kind, "miss") for kind in ("prompt", "image")}
    second = cached.prepare(fill_spec(seed=2, negative_prompt="blurry"))
    assert {kind: lookups("fill", kind, "miss") for kind in ("prompt", "image")} == before
    fresh = load_fill(checkpoint("FLUX.1-Fill-dev"), device="cpu", cache_bytes=0).prepare(
        fill_spec(seed=2, negative_prompt="blurry")
    )
    assert torch.equal(second.latents, fresh.latents)
    assert torch.equal(second.fixed, fresh.fixed)


def test_another_mask_is_another_masked_picture() -> None:
    one = fill().prepare(fill_spec())
    other = fill().prepare(fill_spec(mask=255 - box_mask()))
    assert not torch.equal(one.fixed, other.fixed)


def test_another_seed_of_the_same_qwen_edit_encodes_nothing_and_equals_an_uncached_run() -> None:
    folder = checkpoint("Qwen-Image-Edit-2509")
    first = qwen_spec(images=(photo(), photo(seed=1)))
    qwen().prepare(first)
    before = {kind: lookups("qwen_edit", kind, "miss") for kind in ("prompt", "image")}
    second = qwen().prepare(qwen_spec(images=first.images, seed=99))
    assert {kind: lookups("qwen_edit", kind, "miss") for kind in ("prompt", "image")} == before
    plain = load_qwen(folder, device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, cache_bytes=0)
    fresh = plain.prepare(qwen_spec(images=first.images, seed=99))
    assert torch.equal(second.positive, fresh.positive)
    assert torch.equal(second.pictures, fresh.pictures)


def test_out_of_memory_empties_the_cache() -> None:
    fill().prepare(fill_spec())
    assert fill()._cache.nbytes > 0
    fill().free_memory()
    assert fill()._cache.nbytes == 0
