"""LoRA files of every common trainer.

The same change of the same layers, each entry accounted for.
"""

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel, QwenImageTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline
from safetensors.torch import load_file, save_file

from imgedit.errors import ModelLoadError
from services.diffusion.networks.lora import LoraFile, LoraRegistry
from services.diffusion.weights.checkpoint import load_network
from services.diffusion.weights.original_names import Layout
from services.fill import gguf_names as flux_names
from services.fill.model import NARROW, FillAdapter
from services.fill.model import load_fill as load_fill
from services.qwen_edit import gguf_names as qwen_names
from tests.support.engine import checkpoint, fill, fill_spec
from tests.support.lightning import adapter as qwen_adapter
from tests.support.lightning import lightning_file

FLUX, QWEN = "FLUX.1-Fill-dev", "Qwen-Image-Edit-2509"
RANK = 4
ALPHA = 2.0

Tensors = dict[str, torch.Tensor]
Pair = tuple[torch.Tensor, torch.Tensor]

Q, K, V = (f"transformer_blocks.0.attn.to_{part}" for part in "qkv")
MLP = "transformer_blocks.0.ff.net.0.proj"
SINGLE = "single_transformer_blocks.0"
NORM = "norm_out.linear"


def transformer(model: str = FLUX) -> Any:
    cls = FluxTransformer2DModel if model == FLUX else QwenImageTransformer2DModel
    return load_network(cls, checkpoint(model) / "transformer", torch.float32)


def pair(inputs: int, outputs: int, seed: int) -> Pair:
    """The matrices down (r, in) and up (out, r)."""
    noise = torch.Generator().manual_seed(seed)
    return torch.randn(RANK, inputs, generator=noise), torch.randn(outputs, RANK, generator=noise)


def pairs_for(network: Any, layers: list[str]) -> dict[str, Pair]:
    """A pair for each layer.

    Those of one attention share `down`, as they do where they are one matrix.
    """
    modules = {layer: network.get_submodule(layer) for layer in layers}
    made = {layer: pair(m.in_features, m.out_features, seed) for seed, (layer, m) in enumerate(modules.items())}
    for layer in (K, V):
        if layer in made and Q in made:
            made[layer] = (made[Q][0], made[layer][1])
    return made


def named(pairs: dict[str, Pair], name: Callable[[str], str], down: str, up: str, *, alpha: bool) -> Tensors:
    tensors = {}
    for layer, (first, second) in pairs.items():
        tensors[f"{name(layer)}.{down}.weight"] = first.clone()
        tensors[f"{name(layer)}.{up}.weight"] = second.clone()
        if alpha:
            tensors[f"{name(layer)}.alpha"] = torch.tensor(ALPHA)
    return tensors


def with_original_names(pairs: dict[str, Pair]) -> dict[str, Pair]:
    """The same pairs for the layers of the original FLUX.

    Query, key and value are one, the norm's halves swapped.
    """
    return {
        "double_blocks.0.img_attn.qkv": (pairs[Q][0], torch.cat([pairs[layer][1] for layer in (Q, K, V)])),
        "double_blocks.0.img_mlp.0": pairs[MLP],
        "single_blocks.0.linear2": pairs[f"{SINGLE}.proj_out"],
        "final_layer.adaLN_modulation.1": (pairs[NORM][0], torch.cat(pairs[NORM][1].chunk(2)[::-1])),
    }


def registry_of(network: Any, path: Path, layout: Layout = flux_names.LAYOUT) -> LoraRegistry:
    registry = LoraRegistry(network, {"x": LoraFile(path)}, layout, NARROW if layout is flux_names.LAYOUT else {})
    registry.use("x")
    return registry


def deltas(network: Any) -> Tensors:
    """The weight change of the active LoRA, by layer."""
    return {
        name: module.scaling["x"] * module.lora_B["x"].weight @ module.lora_A["x"].weight
        for name, module in network.named_modules()
        if hasattr(module, "lora_A") and "x" in module.lora_A
    }


def loaded(tensors: Tensors, folder: Path, model: str = FLUX, metadata: dict[str, str] | None = None) -> Tensors:
    path = folder / "lora.safetensors"
    save_file(tensors, path, metadata=metadata)
    network = transformer(model)
    registry_of(network, path, flux_names.LAYOUT if model == FLUX else qwen_names.LAYOUT)
    return deltas(network)


def assert_adds(found: Tensors, pairs: dict[str, Pair], scale: float) -> None:
    assert found.keys() == pairs.keys()
    for layer, (down, up) in pairs.items():
        assert torch.allclose(found[layer], scale * up @ down, atol=1e-5), layer


def underscored(layer: str) -> str:
    return layer.replace(".", "_")


OWN_NAMES = {
    "diffusers": (lambda layer: f"transformer.{layer}", "lora_A", "lora_B"),
    "old diffusers": (lambda layer: f"transformer.{layer}", "lora.down", "lora.up"),
    "PEFT": (lambda layer: f"base_model.model.{layer}", "lora_A", "lora_B"),
    "PEFT with an adapter's name": (lambda layer: layer, "lora_A.default", "lora_B.default"),
    "bare": (lambda layer: layer, "lora_A", "lora_B"),
    "bare, down and up": (lambda layer: layer, "lora_down", "lora_up"),
    "ComfyUI": (lambda layer: f"diffusion_model.{layer}", "lora_A", "lora_B"),
    "OneTrainer": (lambda layer: f"lora_transformer_{underscored(layer)}", "lora_down", "lora_up"),
    "musubi-tuner": (lambda layer: f"lora_unet_{underscored(layer)}", "lora_down", "lora_up"),
}
ORIGINAL_NAMES = {
    "kohya": (lambda layer: f"lora_unet_{underscored(layer)}", "lora_down", "lora_up"),
    "ComfyUI": (lambda layer: f"diffusion_model.{layer}", "lora_A", "lora_B"),
    "a whole checkpoint's": (lambda layer: f"model.diffusion_model.{layer}", "lora_down", "lora_up"),
    "bare": (lambda layer: layer, "lora_A", "lora_B"),
}
FLUX_LAYERS = [Q, K, V, MLP, f"{SINGLE}.proj_out", NORM]
QWEN_LAYERS = [Q, V, "transformer_blocks.0.img_mlp.net.0.proj", "transformer_blocks.0.img_mod.1", "proj_out", NORM]


@pytest.mark.parametrize("alpha", [True, False])
@pytest.mark.parametrize("style", OWN_NAMES)
@pytest.mark.parametrize("model", [FLUX, QWEN])
def test_every_style_of_diffusers_names_adds_the_same(model: str, style: str, alpha: bool, tmp_path: Path) -> None:
    pairs = pairs_for(transformer(model), FLUX_LAYERS if model == FLUX else QWEN_LAYERS)
    tensors = named(pairs, *OWN_NAMES[style], alpha=alpha)
    assert_adds(loaded(tensors, tmp_path, model), pairs, ALPHA / RANK if alpha else 1.0)


@pytest.mark.parametrize("alpha", [True, False])
@pytest.mark.parametrize("style", ORIGINAL_NAMES)
def test_every_style_of_original_names_adds_the_same(style: str, alpha: bool, tmp_path: Path) -> None:
    pairs = pairs_for(transformer(), FLUX_LAYERS)
    tensors = named(with_original_names(pairs), *ORIGINAL_NAMES[style], alpha=alpha)
    assert_adds(loaded(tensors, tmp_path), pairs, ALPHA / RANK if alpha else 1.0)


@pytest.mark.parametrize("number", [torch.tensor(2), torch.tensor([2.0]), torch.tensor(2.0, dtype=torch.bfloat16)])
def test_alpha_is_one_number_of_any_format(number: torch.Tensor, tmp_path: Path) -> None:
    pairs = pairs_for(transformer(), [Q])
    tensors = {**named(pairs, *OWN_NAMES["bare"], alpha=False), f"{Q}.alpha": number}
    assert_adds(loaded(tensors, tmp_path), pairs, ALPHA / RANK)
    assert "1 misshapen" in refusal({**tensors, f"{Q}.alpha": torch.ones(2)}, tmp_path)


def test_one_matrix_of_a_single_block_is_cut_into_its_four_layers(tmp_path: Path) -> None:
    network = transformer()
    layers = [*(f"{SINGLE}.attn.to_{part}" for part in "qkv"), f"{SINGLE}.proj_mlp"]
    sizes = [network.get_submodule(layer).out_features for layer in layers]
    down, up = pair(network.get_submodule(layers[0]).in_features, sum(sizes), 0)
    name = "lora_unet_single_blocks_0_linear1"
    found = loaded({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, tmp_path)
    assert_adds(found, {layer: (down, rows) for layer, rows in zip(layers, up.split(sizes), strict=True)}, 1.0)


@pytest.mark.parametrize("layer", ["img_in", "x_embedder"])
def test_a_lora_for_64_channels_changes_what_the_latents_do_on_fill(layer: str, tmp_path: Path) -> None:
    network = transformer()
    down, up = pair(64, network.x_embedder.out_features, 0)
    name = f"lora_unet_{layer}" if layer == "img_in" else f"transformer.{layer}"
    found = loaded({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, tmp_path)["x_embedder"]
    assert torch.allclose(found[:, :64], up @ down, atol=1e-5)
    assert not found[:, 64:].any()
    assert found.shape[1] == 384


@pytest.mark.parametrize("stabilised", [False, True])
def test_the_strength_may_stand_in_the_files_metadata(stabilised: bool, tmp_path: Path) -> None:
    pairs = pairs_for(transformer(), [Q, MLP])
    config = {"r": RANK, "lora_alpha": 8, "alpha_pattern": {"net.0.proj": 2}, "use_rslora": stabilised}
    metadata = {"lora_adapter_metadata": json.dumps({f"transformer.{key}": value for key, value in config.items()})}
    found = loaded(named(pairs, *OWN_NAMES["diffusers"], alpha=False), tmp_path, metadata=metadata)
    rank = math.sqrt(RANK) if stabilised else RANK
    assert_adds({Q: found[Q]}, {Q: pairs[Q]}, 8 / rank)
    assert_adds({MLP: found[MLP]}, {MLP: pairs[MLP]}, 2 / rank)


def test_the_strength_may_stand_in_pefts_configuration_beside_the_file(tmp_path: Path) -> None:
    pairs = pairs_for(transformer(), [Q])
    path = tmp_path / "adapter_model.safetensors"
    save_file(named(pairs, *OWN_NAMES["PEFT"], alpha=False), path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": 2}))
    network = transformer()
    registry_of(network, path)
    assert_adds(deltas(network), pairs, 0.5)


def test_a_file_of_diffusers_own_making_adds_what_diffusers_adds(tmp_path: Path) -> None:
    network = transformer()
    pairs = pairs_for(network, FLUX_LAYERS)
    bare = named(pairs, *OWN_NAMES["bare"], alpha=False)
    FluxFillPipeline.save_lora_weights(tmp_path, transformer_lora_layers=bare)
    (path,) = tmp_path.glob("*.safetensors")
    network.load_lora_adapter(load_file(path), adapter_name="x")
    assert_adds(loaded(load_file(path), tmp_path), {layer: pairs[layer] for layer in deltas(network)}, 1.0)


TEXT_STYLES = [
    "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight",
    "text_encoder.encoder.layers.0.self_attn.q_proj.lora_A.weight",
    "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight",
    "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.lora_down.weight",
    "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight",
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha",
    "lora_te2_encoder_block_0_layer_0_SelfAttention_q.lora_up.weight",
]


@pytest.fixture(scope="module")
def with_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA with a part for text encoders."""
    path = tmp_path_factory.mktemp("lora") / "both.safetensors"
    tensors = named(pairs_for(transformer(), [Q, K, V]), *OWN_NAMES["diffusers"], alpha=False)
    save_file(tensors | {name: torch.ones(4, 4) for name in TEXT_STYLES}, path)
    return path


@pytest.fixture(scope="module")
def model_with_text(with_text: Path) -> FillAdapter:
    return load_fill(checkpoint(FLUX), device="cpu", loras={"fast": LoraFile(with_text)})


def edited(model: FillAdapter, **changes: Any) -> np.ndarray:
    spec = fill_spec(**changes)
    state = model.prepare(spec)
    for _ in range(model.workload(spec).steps):
        model.denoise([state])
    return model.decode(state)


def test_the_part_for_text_encoders_changes_no_prompt_and_no_other_job(model_with_text: FillAdapter) -> None:
    prompts = [model.prepare(fill_spec()).positive for model in (model_with_text, fill())]
    assert torch.equal(prompts[0].pooled, prompts[1].pooled)
    assert torch.equal(prompts[0].tokens, prompts[1].tokens)
    changed = edited(model_with_text, lora="fast")
    assert np.array_equal(edited(model_with_text), edited(fill()))
    assert not np.array_equal(changed, edited(fill()))


def test_what_is_left_out_is_told_once_in_the_log_and_in_the_answers_that_use_it(
    with_text: Path, model_with_text: FillAdapter, caplog: pytest.LogCaptureFixture
) -> None:
    (warning,) = model_with_text.warnings(fill_spec(lora="fast"))
    assert (
        "the LoRA both.safetensors has a part for text encoders (7 of its entries), which is not used"
        in warning.english
    )
    assert model_with_text.warnings(fill_spec()) == ()
    with caplog.at_level(logging.WARNING, "services.diffusion.networks.lora"):
        LoraRegistry(transformer(), {"x": LoraFile(with_text)}, flux_names.LAYOUT)
    (record,) = caplog.records
    assert str(with_text) in record.getMessage()


def test_a_whole_lora_gives_no_warning(tmp_path: Path) -> None:
    model = qwen_adapter(loras={"fast": LoraFile(lightning_file(tmp_path))})
    assert model._network.loras.warnings("fast", ()) == ()


def refusal(tensors: Tensors, folder: Path) -> str:
    """The one line about a file, after its name."""
    path = folder / "bad.safetensors"
    save_file(tensors, path)
    with pytest.raises(ModelLoadError) as caught:
        LoraRegistry(transformer(), {"x": LoraFile(path)}, flux_names.LAYOUT, NARROW)
    message = caught.value.message
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def good(folder: Path) -> Tensors:
    return named(pairs_for(transformer(), [Q, MLP]), *OWN_NAMES["diffusers"], alpha=True)


def test_every_entry_must_land_on_a_layer(tmp_path: Path) -> None:
    extra = {f"transformer.transformer_blocks.{i}.attn.to_q.lora_A.weight": torch.ones(4, 4) for i in range(7, 12)}
    message = refusal({**good(tmp_path), **extra}, tmp_path)
    assert "not the weights of a LoRA for FLUX.1-Fill: 5 of no layer" in message
    assert "'transformer.transformer_blocks.10.attn.to_q.lora_A.weight'" in message
    assert message.endswith(", …)")


@pytest.mark.parametrize(
    "name",
    [
        f"transformer.{Q}.lora_B.bias",
        "transformer.transformer_blocks.0.attn.norm_q.lora_A.weight",
        f"transformer.{Q}.diff",
        "controlnet.lora_A.weight",
        "something.alpha",
    ],
)
def test_an_entry_that_nothing_would_read_is_named(name: str, tmp_path: Path) -> None:
    assert f"1 of no layer ({name!r})" in refusal({**good(tmp_path), name: torch.ones(4, 4)}, tmp_path)


def test_shapes_must_fit(tmp_path: Path) -> None:
    network = transformer()
    inputs, outputs = network.get_submodule(Q).in_features, network.get_submodule(Q).out_features
    tensors = {**good(tmp_path), f"transformer.{Q}.lora_A.weight": torch.ones(RANK, inputs + 1)}
    assert f"1 misshapen ({Q!r} is [{outputs}, 4] by [4, {inputs + 1}] instead of" in refusal(tensors, tmp_path)
    tensors = {**good(tmp_path), f"transformer.{Q}.lora_A.weight": torch.ones(RANK + 1, inputs)}
    assert "1 misshapen" in refusal(tensors, tmp_path)
    narrow = {**good(tmp_path), f"transformer.{Q}.lora_A.weight": torch.ones(RANK, 64 if inputs != 64 else 32)}
    assert "1 misshapen" in refusal(narrow, tmp_path)


def test_half_a_pair_and_two_pairs_for_one_layer_are_refused(tmp_path: Path) -> None:
    tensors = good(tmp_path)
    del tensors[f"transformer.{Q}.lora_B.weight"]
    assert f"1 without its other half ({Q!r})" in refusal(tensors, tmp_path)
    twice = {
        **good(tmp_path),
        **named(with_original_names(pairs_for(transformer(), FLUX_LAYERS)), *ORIGINAL_NAMES["kohya"], alpha=False),
    }
    assert "2 for a layer that another is for too" in refusal(twice, tmp_path)
    same = {**good(tmp_path), f"{Q}.lora_A.weight": torch.ones(RANK, 4)}
    assert "two entries are the down of" in refusal(same, tmp_path)


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    tensors = good(tmp_path)
    tensors[f"transformer.{Q}.lora_A.weight"][0, 0] = float("nan")
    assert f"1 not finite ({Q!r})" in refusal(tensors, tmp_path)
    tensors = good(tmp_path)
    tensors[f"transformer.{Q}.lora_A.weight"] = torch.ones(4, 4, dtype=torch.float8_e4m3fn)
    assert "is F8_E4M3" in refusal(tensors, tmp_path)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("a LoKr", [f"{Q}.lokr_w1", f"{Q}.lokr_w2"]),
        ("a LoHa", [f"{Q}.hada_w1_a", f"{Q}.hada_w1_b"]),
        ("a DoRA", [f"{Q}.dora_scale"]),
        ("a DoRA", [f"{Q}.lora_magnitude_vector"]),
    ],
)
def test_other_kinds_of_adapters_are_refused_by_name(kind: str, names: list[str], tmp_path: Path) -> None:
    tensors = {**good(tmp_path), **{f"transformer.{name}": torch.ones(4, 4) for name in names}}
    message = refusal(tensors, tmp_path)
    assert message.startswith(f"{kind}, and only LoRAs can be used: {len(names)} entries ('transformer.{names[0]}'")


def test_a_part_for_text_encoders_alone_is_no_lora_for_the_transformer(tmp_path: Path) -> None:
    assert refusal({name: torch.ones(4, 4) for name in TEXT_STYLES}, tmp_path) == "holds no LoRA for the transformer"


def test_a_file_that_is_cut_short_or_a_pointer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    save_file(good(tmp_path), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelLoadError, match=r"cut\.safetensors: not a usable safetensors file"):
        LoraRegistry(transformer(), {"x": LoraFile(path)}, flux_names.LAYOUT)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ModelLoadError, match=r"cut\.safetensors: a Git LFS pointer"):
        LoraRegistry(transformer(), {"x": LoraFile(path)}, flux_names.LAYOUT)
