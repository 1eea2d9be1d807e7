"""Networks of the published configurations, without weights.

Their tensors, names and sizes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2_5_VLConfig

from imgedit.errors import ModelLoadError
from imgedit.weights.safetensors_header import Entry
from services.diffusion.weights import gguf_weights, stored_weights
from services.diffusion.weights.original_names import shapes_of
from services.fill import gguf_names as flux_names
from services.fill.model import CLIP_IGNORED, PIPELINE, T5_IGNORED
from services.fill.model import PARTS as FLUX_PARTS
from services.qwen_edit import gguf_names as qwen_names
from services.qwen_edit.model import PARTS as QWEN_PARTS
from services.segmentation.ben2.config import BEN2Config
from services.segmentation.ben2.loading import read_config
from services.segmentation.ben2.network import BEN2
from tests.support import published
from tests.support.published import PARTS, gguf_kinds, network, write_gguf

pytestmark = pytest.mark.slow

TRANSFORMERS = {
    "FLUX transformer": (flux_names.LAYOUT, "flux", 780),
    "Qwen transformer": (qwen_names.LAYOUT, "qwen_image", 1_933),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_published_network_has_its_tensors_and_parameters(name: str) -> None:
    net, part = network(name), PARTS[name]
    assert len(net.state_dict()) == part.tensors
    if name == "T5-XXL":
        assert stored_weights.tied(net) == [{"shared.weight", "encoder.embed_tokens.weight"}]
        total = sum(tensor.numel() for key, tensor in net.state_dict().items() if key != "shared.weight")
    else:
        total = sum(tensor.numel() for tensor in net.state_dict().values())
    assert total == part.parameters


@pytest.mark.parametrize(("name", "size"), [("FLUX transformer", 23_804_782_720), ("Qwen transformer", 40_860_802_176)])
def test_a_published_transformer_takes_the_bytes_of_its_shards(name: str, size: int) -> None:
    assert sum(tensor.numel() * 2 for tensor in network(name).state_dict().values()) == size


def test_ben2_has_the_official_sizes_where_its_configuration_states_none() -> None:
    config = read_config(published.BEN2)
    assert config == BEN2Config()
    with torch.device("meta"):
        net = BEN2(config)
    assert len(net.state_dict()) == 535
    assert round(sum(parameter.numel() for parameter in net.parameters()) / 1e6, 1) == 94.1


@pytest.mark.parametrize(
    ("folder", "pipeline", "parts"),
    [(published.FLUX, PIPELINE, FLUX_PARTS), (published.QWEN, "QwenImageEditPlusPipeline", QWEN_PARTS)],
)
def test_the_published_index_names_the_parts_that_the_service_wants(
    folder: Path, pipeline: str, parts: tuple[str, ...]
) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == pipeline
    assert sorted(key for key in index if not key.startswith("_")) == sorted(parts)


def old_clip(name: str) -> str:
    return f"text_model.{name}"


def old_qwen(name: str) -> str:
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


@pytest.mark.parametrize(
    ("name", "rename", "ignored", "extra"),
    [
        ("CLIP-L", old_clip, CLIP_IGNORED, {"text_model.embeddings.position_ids": (1, 77)}),
        (
            "T5-XXL",
            str,
            T5_IGNORED,
            {"decoder.block.0.layer.0.SelfAttention.q.weight": (1, 1), "lm_head.weight": (1, 1)},
        ),
        ("Qwen2.5-VL-7B", old_qwen, {}, {}),
        ("Qwen2.5-VL-7B", str, {}, {}),
    ],
)
def test_the_published_names_of_text_encoders_are_the_networks(
    name: str, rename: Any, ignored: dict[str, str], extra: dict[str, tuple[int, ...]]
) -> None:
    net = network(name)
    wanted = net.state_dict()
    entries = {rename(key): Entry("BF16", tuple(tensor.shape), 0) for key, tensor in wanted.items()}
    entries |= {key: Entry("BF16", shape, 0) for key, shape in extra.items()}
    if name == "T5-XXL":
        del entries["encoder.embed_tokens.weight"]  # 219 in the published shards
    found = stored_weights.network_names(net, entries, sharded=name != "CLIP-L")
    kept = {key: entry for key, entry in found.items() if not key.startswith(tuple(ignored))}
    assert len(found) - len(kept) == len(extra)
    assert not any(stored_weights.faults(kept, wanted, stored_weights.tied(net)).values())


def test_qwens_old_configuration_and_the_new_one_give_the_same_network(tmp_path: Path) -> None:
    """The language model's sizes moved to `text_config` in transformers 4.52.

    Before, they were beside the vision model's.
    """
    new = json.loads((published.QWEN / "text_encoder" / "config.json").read_text())
    old = {key: value for key, value in new.items() if key != "text_config"}
    (tmp_path / "config.json").write_text(json.dumps(old))
    configs = [Qwen2_5_VLConfig.from_pretrained(str(folder)) for folder in (published.QWEN / "text_encoder", tmp_path)]
    for field in ("hidden_size", "num_hidden_layers", "num_key_value_heads", "vocab_size", "rms_norm_eps"):
        assert getattr(configs[0].text_config, field) == getattr(configs[1].text_config, field)
    for config in configs:
        assert config.text_config.rope_parameters["mrope_section"] == [16, 24, 24]
        assert config.text_config.rope_parameters["rope_theta"] == 1e6


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_name_table_covers_the_published_transformer_exactly(name: str) -> None:
    layout, _, count = TRANSFORMERS[name]
    shapes = shapes_of(network(name))
    names = layout.names(network(name).config, shapes)
    assert len(names) == count
    assert sorted(part for parts in names.values() for part in parts) == sorted(shapes)


K_M = {"Q4_K": "Q5_K", "Q5_K": "Q6_K"}
"""A K_M file stores the matrices of query, key and value one step finer."""

FLUX_FILES = {
    "Q8_0": ({"": "Q8_0"}, 12.7),
    "Q6_K": ({"": "Q6_K"}, 9.86),
    "Q5_K_S": ({"": "Q5_K"}, 8.29),
    "Q4_K_S": ({"": "Q4_K"}, 6.81),
    "Q4_K_M": ({"": "Q4_K", "attn.qkv.weight": K_M["Q4_K"], "linear1.weight": K_M["Q4_K"]}, None),
    "Q5_K_M": ({"": "Q5_K", "attn.qkv.weight": K_M["Q5_K"], "linear1.weight": K_M["Q5_K"]}, None),
    "Q2_K": ({"": "Q2_K"}, None),
}
"""The types of the blocks' matrices, and how many GB the published file has."""


@pytest.mark.parametrize(("kind", "prefix"), [*((kind, "") for kind in FLUX_FILES), ("Q8_0", "model.diffusion_model.")])
def test_a_published_flux_file_of_780_tensors_passes_the_door(kind: str, prefix: str, tmp_path: Path) -> None:
    mix, gigabytes = FLUX_FILES[kind]
    kinds = gguf_kinds(flux_names.LAYOUT, network("FLUX transformer"), mix, outer="BF16")
    of = [stored for _, stored in kinds.values()]
    assert (len(of), of.count("F32"), of.count("BF16")) == (780, 466, 10)
    path = tmp_path / f"flux1-fill-dev-{kind}.gguf"
    size = write_gguf(path, kinds, "flux", prefix)
    if gigabytes is not None:
        assert size / 1e9 == pytest.approx(gigabytes, rel=0.004)
    entries, net = gguf_weights.open_file(flux_names.LAYOUT, path, published.FLUX / "transformer")
    assert {name: entry.shape for name, entry in entries.items()} == {name: shape for name, (shape, _) in kinds.items()}
    assert all(tensor.is_meta for tensor in net.state_dict().values())


QWEN_FILES = {
    "Q4_K_M": {"": "Q4_K", "img_mod.1.weight": "Q5_K", "attn.to_v.weight": "Q5_K"},
    "Q2_K": {"": "Q2_K", "attn.to_v.weight": "Q3_K", "net.2.weight": "Q4_K"},
}


@pytest.mark.parametrize("kind", QWEN_FILES)
def test_a_published_qwen_file_of_1933_tensors_passes_the_door(kind: str, tmp_path: Path) -> None:
    kinds = gguf_kinds(qwen_names.LAYOUT, network("Qwen transformer"), QWEN_FILES[kind], outer="BF16")
    of = [stored for _, stored in kinds.values()]
    assert (len(of), of.count("F32"), of.count("BF16")) == (1_933, 1_087, 6)
    path = tmp_path / f"Qwen-Image-Edit-2509-{kind}.gguf"
    write_gguf(path, kinds, "qwen_image")
    entries, _ = gguf_weights.open_file(qwen_names.LAYOUT, path, published.QWEN / "transformer")
    assert len(entries) == 1_933


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_published_file_that_lacks_a_byte_is_refused(name: str, tmp_path: Path) -> None:
    layout, architecture, _ = TRANSFORMERS[name]
    path = tmp_path / "cut.gguf"
    size = write_gguf(path, gguf_kinds(layout, network(name), {"": "Q8_0"}, outer="BF16"), architecture)
    with path.open("r+b") as file:
        file.truncate(size // 2)
    with pytest.raises(ModelLoadError, match="it is cut short"):
        gguf_weights.open_file(layout, path, PARTS[name].folder)


def test_a_file_of_flux_dev_is_not_one_of_fill(tmp_path: Path) -> None:
    kinds = gguf_kinds(flux_names.LAYOUT, network("FLUX transformer"), {"": "Q8_0"}, outer="BF16")
    kinds["img_in.weight"] = ((3072, 64), "BF16")
    path = tmp_path / "flux1-dev-Q8_0.gguf"
    write_gguf(path, kinds, "flux")
    with pytest.raises(ModelLoadError, match=r"1 misshapen \('img_in.weight' is \[3072, 64\] instead of \[3072, 384\]"):
        gguf_weights.open_file(flux_names.LAYOUT, path, published.FLUX / "transformer")
