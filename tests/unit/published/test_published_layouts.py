"""Small checkpoints in the published layouts.

Tokenizers, the processor's bounds, CLIP's end mark, FLUX's VAE.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer, Qwen2Tokenizer

from demo.tiny import tokenizers
from services.diffusion.weights.checkpoint import load_network, load_part
from services.fill.model import load_fill as load_fill
from services.qwen_edit.model import load_qwen_edit as load_qwen
from services.qwen_edit.processor import load_processor
from tests.support import published
from tests.support.engine import SMALL, alike, checkpoint, fill_spec, qwen_spec

pytestmark = pytest.mark.slow

FLUX, QWEN = "FLUX.1-Fill-dev", "Qwen-Image-Edit-2509"
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")


def copied(model: str, target: Path) -> Path:
    return Path(shutil.copytree(checkpoint(model), target / model))


def change(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | values))


def publish_clip_tokenizer(folder: Path) -> None:
    """vocab.json, merges.txt and the published configuration.

    The ids are the small vocabulary's.
    """
    vocabulary = tokenizers.clip().get_vocab()
    shutil.rmtree(folder)
    shutil.copytree(published.FLUX / "tokenizer", folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    known = {entry["content"]: entry for entry in config["added_tokens_decoder"].values()}
    change(
        folder / "tokenizer_config.json", added_tokens_decoder={str(vocabulary[text]): known[text] for text in known}
    )


def publish_qwen_tokenizer(folder: Path) -> None:
    """vocab.json, merges.txt and added tokens behind the vocabulary.

    The ids are the demo model's.
    """
    whole = json.loads((folder / "tokenizer.json").read_text())
    marks = {entry["content"]: entry["id"] for entry in whole["added_tokens"]}
    vocabulary = {text: number for text, number in whole["model"]["vocab"].items() if text not in marks}
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in whole["model"]["merges"]]
    config = json.loads((published.QWEN / "tokenizer" / "tokenizer_config.json").read_text())
    known = {entry["content"]: entry for entry in config["added_tokens_decoder"].values()}
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    kept = {text: number for text, number in marks.items() if text in known}
    (folder / "added_tokens.json").write_text(json.dumps(kept))
    config["added_tokens_decoder"] = {str(number): known[text] for text, number in kept.items()}
    config["additional_special_tokens"] = [text for text in config["additional_special_tokens"] if text in kept]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def test_clips_published_tokenizer_layout_loads_and_gives_the_same_ids(tmp_path: Path) -> None:
    folder = copied(FLUX, tmp_path) / "tokenizer"
    publish_clip_tokenizer(folder)
    assert not (folder / "tokenizer.json").exists()
    published_one, own = load_part(CLIPTokenizer, folder), tokenizers.clip()
    assert published_one.model_max_length == 77
    assert published_one.pad_token == "<|endoftext|>"
    for text in ("a bright modern gym", "체육관", "A  Gym!"):
        ids = published_one(text, padding="max_length", max_length=77, truncation=True).input_ids
        assert ids == own(text, padding="max_length", max_length=77, truncation=True).input_ids
        assert ids[0] == own.bos_token_id
        assert ids[-1] == own.eos_token_id


def test_qwens_published_tokenizer_layout_loads_and_gives_the_same_ids(tmp_path: Path) -> None:
    folder = copied(QWEN, tmp_path)
    own = load_part(Qwen2Tokenizer, checkpoint(QWEN) / "tokenizer")
    publish_qwen_tokenizer(folder / "tokenizer")
    assert not (folder / "tokenizer" / "tokenizer.json").exists()
    found = load_part(Qwen2Tokenizer, folder / "tokenizer")
    assert (found.eos_token, found.pad_token) == ("<|im_end|>", "<|endoftext|>")
    for mark in MARKS:
        assert found(mark).input_ids == [own.convert_tokens_to_ids(mark)]
    text = "<|im_start|>user\nPicture 1: <|vision_start|><|image_pad|><|vision_end|>옷을 빨간색으로<|im_end|>"
    assert found(text).input_ids == own(text).input_ids
    assert found.decode(found("옷을 빨간색으로 바꿔줘").input_ids) == "옷을 빨간색으로 바꿔줘"


@pytest.fixture(scope="module")
def processor() -> Any:
    tokenizer = load_part(Qwen2Tokenizer, checkpoint(QWEN) / "tokenizer")
    return load_processor(published.QWEN / "processor", tokenizer)


@pytest.mark.parametrize(
    ("height", "width", "grid"),
    [
        (384, 384, [1, 28, 28]),  # what the edit shows: 384² px
        (28, 56, [1, 4, 6]),  # enlarged by the least factor that gives 3,136 px, up to multiples of 28
        (1400, 2800, [1, 100, 200]),  # more than the class's own bound of 1,003,520 px, and left alone
    ],
)
def test_the_published_processor_keeps_its_bounds(height: int, width: int, grid: list[int], processor: Any) -> None:
    picture = Image.fromarray(np.zeros((height, width, 3), np.uint8))
    seen = processor(text=["<|image_pad|>"], images=[picture], return_tensors="pt")
    assert seen["image_grid_thw"].tolist() == [grid]
    assert seen["pixel_values"].shape == (grid[1] * grid[2], 1176)
    marks = (seen["input_ids"] == processor.image_token_id).sum()
    assert int(marks) == grid[1] * grid[2] // 4


def test_the_published_processor_has_the_published_bounds(processor: Any) -> None:
    size = processor.image_processor.size
    assert (size["shortest_edge"], size["longest_edge"]) == (3_136, 12_845_056)
    assert processor.image_processor.merge_size == 2


def clip_folder(target: Path, **config: Any) -> Path:
    folder = Path(shutil.copytree(checkpoint(FLUX) / "text_encoder", target / "text_encoder"))
    change(folder / "config.json", **config)
    return folder


def test_clips_published_end_mark_2_means_the_highest_id_and_is_pooled(tmp_path: Path) -> None:
    """The published configuration has eos_token_id 2, which no prompt ends with.

    Transformers then looks for the highest id of a row, which is the first end mark.
    """
    end = len(tokenizers.clip()) - 1
    ids = torch.tensor([[end - 1, 5, 6, 7, end, end, end, end], [end - 1, 5, 9, end, end, end, end, end]])
    old = load_network(CLIPTextModel, clip_folder(tmp_path / "old", eos_token_id=2, bos_token_id=0), torch.float32)
    new = load_network(CLIPTextModel, clip_folder(tmp_path / "new", eos_token_id=end), torch.float32)
    with torch.inference_mode():
        output, expected = old(ids), new(ids)
    assert torch.equal(output.pooler_output, expected.pooler_output)
    assert torch.equal(output.pooler_output, output.last_hidden_state[[0, 1], [4, 3]])


def published_vae(folder: Path, *, old_names: bool) -> AutoencoderKL:
    """A small VAE with attention in the middle, as published; saved to the folder."""
    config = json.loads((published.FLUX / "vae" / "config.json").read_text())
    small = {"block_out_channels": [8, 8, 16, 16], "layers_per_block": 1, "norm_num_groups": 4}
    torch.manual_seed(3)
    vae = AutoencoderKL.from_config({**config, **small}).eval()
    shutil.rmtree(folder)
    vae.save_pretrained(folder)
    if old_names:
        path = folder / "diffusion_pytorch_model.safetensors"
        names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        tensors = {}
        for name, tensor in load_file(path).items():
            for new, old in names.items():
                name = name.replace(f"attentions.0.{new}", f"attentions.0.{old}")
            tensors[name] = tensor
        assert any("proj_attn" in name for name in tensors)
        save_file(tensors, path, metadata={"format": "pt"})
    return vae


@pytest.mark.parametrize("old_names", [False, True])
def test_a_vae_with_attention_in_the_middle_loads_with_the_weights_of_its_file(old_names: bool, tmp_path: Path) -> None:
    folder = copied(FLUX, tmp_path)
    vae = published_vae(folder / "vae", old_names=old_names)
    adapter = load_fill(folder, device="cpu", dtype="float16")
    loaded = adapter._pipeline.vae
    assert loaded.config.force_upcast
    assert loaded.config.mid_block_add_attention
    assert loaded.dtype == torch.float32  # never float16, which the published VAE overflows in
    latents = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.allclose(loaded.decode(latents).sample, vae.decode(latents).sample, atol=1e-4)


def picture_of(adapter: Any, spec: Any) -> np.ndarray:
    state = adapter.prepare(spec)
    adapter.denoise([state])
    picture: np.ndarray = adapter.decode(state)
    return picture


def test_a_fill_checkpoint_in_the_published_layout_paints_what_the_other_layout_paints(tmp_path: Path) -> None:
    folder = copied(FLUX, tmp_path)
    publish_clip_tokenizer(folder / "tokenizer")
    change(folder / "text_encoder" / "config.json", eos_token_id=2, bos_token_id=0, pad_token_id=1)
    path = folder / "text_encoder" / "model.safetensors"
    save_file({f"text_model.{name}": tensor for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    spec = fill_spec(steps=1)
    one, other = (load_fill(each, device="cpu") for each in (folder, checkpoint(FLUX)))
    assert alike(picture_of(one, spec), picture_of(other, spec))


def test_a_qwen_checkpoint_in_the_published_layout_paints_what_the_other_layout_paints(tmp_path: Path) -> None:
    folder = copied(QWEN, tmp_path)
    publish_qwen_tokenizer(folder / "tokenizer")
    shutil.rmtree(folder / "processor")
    shutil.copytree(published.QWEN / "processor", folder / "processor")
    own = json.loads((checkpoint(QWEN) / "processor" / "preprocessor_config.json").read_text())
    change(folder / "processor" / "preprocessor_config.json", image_mean=own["image_mean"], image_std=own["image_std"])
    spec = qwen_spec(steps=1)
    one, other = (
        load_qwen(each, device="cpu", reference_pixels=SMALL, condition_pixels=SMALL)
        for each in (folder, checkpoint(QWEN))
    )
    assert alike(picture_of(one, spec), picture_of(other, spec))
