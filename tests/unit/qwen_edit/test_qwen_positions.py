"""Qwen2.5-VL's positions of prompt and image tokens.

A text token has the same position on all three axes (time, rows, columns). The tokens of an image share one time, and
spread over rows and columns from there; the following text continues after the longer side. See "Multimodal Rotary
Position Embedding", https://arxiv.org/abs/2409.12191, section 2.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from services.qwen_edit.conditioning import presented, scaled
from services.qwen_edit.instructions import RewriteSpec
from services.qwen_edit.model import QwenEditAdapter, load
from tests.support.engine import SMALL, checkpoint, photo


@pytest.fixture(scope="module")
def adapter() -> QwenEditAdapter:
    """A separate adapter: others have cached prompts that would not run again."""
    return load(checkpoint("Qwen-Image-Edit-2509"), device="cpu", reference_pixels=SMALL, condition_pixels=SMALL)


def expected(tokens: list[int], grids: list[tuple[int, int]], marker: int) -> torch.Tensor:
    """(3, L) by hand.

    grids: (rows, columns) of each image, in tokens. marker: the id of an image token.
    """
    places: list[tuple[int, int, int]] = []
    at, index, left = 0, 0, list(grids)
    while index < len(tokens):
        if tokens[index] == marker:
            rows, columns = left.pop(0)
            assert tokens[index : index + rows * columns] == [marker] * (rows * columns)
            places += [(at, at + row, at + column) for row in range(rows) for column in range(columns)]
            at, index = at + max(rows, columns), index + rows * columns
        else:
            places.append((at, at, at))
            at, index = at + 1, index + 1
    assert not left
    return torch.tensor(places).T


@contextmanager
def places_seen(model: QwenEditAdapter) -> Iterator[list[torch.Tensor]]:
    """The positions for the language model's rotary embedding at each call, (3, L)."""
    found: list[torch.Tensor] = []
    rotary = model._pipeline.text_encoder.model.language_model.rotary_emb

    def note(_module: Any, args: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        positions = inputs["position_ids"] if "position_ids" in inputs else args[1]
        found.append(positions[:, 0].clone())

    handle = rotary.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


PICTURES = [
    [photo()],
    [photo(96, 64)],
    [photo(64, 64, seed=4), photo(48, 160, seed=5)],
    [photo(160, 48, seed=6), photo(64, 96, seed=7), photo(96, 64, seed=8)[:77, :33]],
]


@pytest.mark.parametrize("pictures", PICTURES)
@pytest.mark.parametrize("prompt", [" ", "make it red", "Picture 2의 재킷을 Picture 1의 사람에게 입혀줘"])
def test_a_pictures_tokens_stand_in_rows_and_columns(
    adapter: QwenEditAdapter, prompt: str, pictures: list[np.ndarray]
) -> None:
    pipeline = adapter._pipeline
    text = pipeline.prompt_template_encode.format(presented(prompt, len(pictures)))
    made = pipeline.processor(text=[text], images=[scaled(p, SMALL) for p in pictures], return_tensors="pt")
    grids = [(int(grid[1]) // 2, int(grid[2]) // 2) for grid in made["image_grid_thw"]]
    with places_seen(adapter) as seen:
        adapter._conditioner.forget()
        adapter._conditioner.prompt(prompt, pictures)
    tokens = made["input_ids"][0].tolist()
    assert len(seen) == 1
    assert torch.equal(seen[0], expected(tokens, grids, pipeline.text_encoder.config.image_token_id))


def test_a_prompt_written_out_with_a_picture_sees_it_in_rows_and_columns_too(adapter: QwenEditAdapter) -> None:
    with places_seen(adapter) as seen:
        adapter.rewrite(RewriteSpec("expand", "배경 변경", 100, (photo(120, 200),)), lambda: False)
    first, *later = seen
    rows, columns = (int(first[axis].diff().abs().max()) for axis in (1, 2))
    assert (rows, columns) != (1, 1), "text alone has steps of 1"
    last = int(first.max())
    assert [positions.unique().tolist() for positions in later] == [[last + step] for step in range(1, len(later) + 1)]


def test_a_look_at_pictures_leaves_no_positions_behind(adapter: QwenEditAdapter) -> None:
    """transformers remembers how far pictures moved the text.

    An answer about text alone must begin at 0.
    """
    adapter._conditioner.forget()
    adapter._conditioner.prompt("make it red", [photo()])
    with places_seen(adapter) as seen:
        adapter.rewrite(RewriteSpec("translate", "배경을 체육관으로 변경", 100, ()), lambda: False)
    length = seen[0].shape[1]
    assert torch.equal(seen[0], torch.arange(length).expand(3, -1))
    assert [int(positions) for positions in (p.unique() for p in seen[1:])] == list(
        range(length, length + len(seen) - 1)
    )
