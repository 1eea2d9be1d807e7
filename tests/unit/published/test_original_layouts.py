"""Single files of the original layouts load like the model's folder.

In full precision and in 8-bit floats.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.loaders import single_file_utils
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration, T5EncoderModel

from imgedit.errors import ModelLoadError
from imgedit.weights.gguf_header import read_header
from services.diffusion.networks.lora import LoraFile
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.diffusion.weights import reading
from services.diffusion.weights.checkpoint import load_network
from services.diffusion.weights.fp8 import Fp8Linear
from services.diffusion.weights.int8 import Int8Linear
from services.diffusion.weights.original_names import Layout, shapes_of
from services.fill import gguf_names as flux_names
from services.fill import vae_names as flux_vae
from services.fill.model import T5_IGNORED, FillAdapter
from services.fill.model import load_fill as load_fill
from services.qwen_edit import vae_names as qwen_vae
from services.qwen_edit.model import load_qwen_edit as load_qwen
from services.qwen_edit.vae import SingleImageVae
from tests.support import comfyui
from tests.support.comfyui import in_fp8, in_scaled_fp8
from tests.support.engine import SMALL, alike, checkpoint, fill_spec, qwen_spec, write_lora
from tests.support.published import network, write_gguf

pytestmark = pytest.mark.slow

FLUX, QWEN = "FLUX.1-Fill-dev", "Qwen-Image-Edit-2509"
QWEN_VAE = Layout("Qwen-Image's VAE", SingleImageVae, qwen_vae.name_table)
FP8: dict[str, Callable[[comfyui.Tensors], comfyui.Tensors]] = {
    "plain": in_fp8,
    "scaled": in_scaled_fp8,
    "newer names": lambda tensors: in_scaled_fp8(tensors, newer=True),
    "a scale for each row": lambda tensors: in_scaled_fp8(tensors, newer=True, by_row=True),
}


def numbered(names: Any, shape: Callable[[str], tuple[int, ...]]) -> comfyui.Tensors:
    """Tensors in which no number stands twice."""
    tensors, start = {}, 0
    for name in names:
        count = int(np.prod(shape(name)))
        tensors[name] = torch.arange(start, start + count, dtype=torch.float64).reshape(shape(name))
        start += count
    return tensors


def test_fluxs_vae_has_the_names_that_diffusers_converts() -> None:
    config = network("FLUX VAE").config
    table = flux_vae.name_table(config, shapes_of(network("FLUX VAE")))
    one_each = numbered(table, lambda name: (1, 1, 1, 1) if "attn_1" in name and "norm" not in name else (1,))
    converted = single_file_utils.convert_ldm_vae_checkpoint(dict(one_each), config)
    assert {name: float(tensor.flatten()[0]) for name, tensor in converted.items()} == {
        part: float(one_each[name].flatten()[0]) for name, (part,) in table.items()
    }


def test_qwens_vae_has_the_names_that_diffusers_converts() -> None:
    table = qwen_vae.name_table(network("Qwen VAE").config, shapes_of(network("Qwen VAE")))
    one_each = numbered(table, lambda _: (1,))
    converted = single_file_utils.convert_wan_vae_to_diffusers(dict(one_each))
    assert {name: float(tensor[0]) for name, tensor in converted.items()} == {
        part: float(one_each[name][0]) for name, (part,) in table.items()
    }
    assert len(table) == 194


def test_fluxs_transformer_has_the_names_and_rows_that_diffusers_converts() -> None:
    config = {**network("FLUX transformer").config, "num_layers": 1, "num_single_layers": 1}
    shapes = {
        name: shape
        for name, shape in shapes_of(network("FLUX transformer")).items()
        if "blocks." not in name or "blocks.0." in name
    }
    table = flux_names.name_table(config, shapes)
    rows = numbered(table, lambda name: (sum(shapes[part][0] for part in table[name]),))
    converted = single_file_utils.convert_flux_transformer_checkpoint_to_diffusers(dict(rows))
    for name, parts in table.items():
        stored = rows[name]
        if name.startswith(flux_names.HALVES_SWAPPED):
            stored = stored.roll(len(stored) // 2)
        for part, own in zip(parts, stored.split([shapes[part][0] for part in parts]), strict=True):
            assert torch.equal(converted[part], own), part


def copied(model: str, target: Path) -> Path:
    return Path(shutil.copytree(checkpoint(model), target / model))


def put(folder: Path, name: str, tensors: comfyui.Tensors) -> Path:
    """Make one file of this name the only weights of a component."""
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    save_file(tensors, folder / name)
    return folder / name


def with_attention(folder: Path) -> None:
    """A VAE with attention in its middle, as the published one."""
    config = AutoencoderKL.load_config(str(folder / "vae")) | {"mid_block_add_attention": True}
    torch.manual_seed(5)
    AutoencoderKL.from_config(config).save_pretrained(folder / "vae")


def comfy_flux(folder: Path, prefix: str = "") -> None:
    """The weights of each component as ComfyUI's files have them."""
    put(
        folder / "transformer",
        "flux1-fill-dev.safetensors",
        comfyui.original(flux_names.LAYOUT, folder / "transformer", prefix),
    )
    put(
        folder / "vae",
        "ae.safetensors",
        comfyui.original(flux_vae.LAYOUT, folder / "vae", prefix and "first_stage_model."),
    )
    clip = {f"text_model.{name}": tensor for name, tensor in comfyui.stored(folder / "text_encoder").items()}
    extra = {"text_projection.weight": torch.ones(2, 2), "logit_scale": torch.ones(())}
    put(folder / "text_encoder", "clip_l.safetensors", {**clip, **extra})
    put(folder / "text_encoder_2", "t5xxl_fp16.safetensors", comfyui.stored(folder / "text_encoder_2"))


def comfy_qwen(folder: Path, prefix: str = "") -> None:
    transformer = {f"{prefix}{name}": tensor for name, tensor in comfyui.stored(folder / "transformer").items()}
    put(folder / "transformer", "qwen_image_edit_2509_bf16.safetensors", transformer)
    put(folder / "vae", "qwen_image_vae.safetensors", comfyui.original(QWEN_VAE, folder / "vae", prefix and "vae."))
    put(folder / "text_encoder", "qwen_2.5_vl_7b.safetensors", comfyui.stored(folder / "text_encoder"))


def fill_picture(adapter: FillAdapter, **changes: Any) -> np.ndarray:
    state = adapter.prepare(fill_spec(steps=1, **changes))
    adapter.denoise([state])
    return adapter.decode(state)


def qwen_picture(folder: Path, **options: Any) -> np.ndarray:
    adapter = load_qwen(folder, device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, **options)
    state = adapter.prepare(qwen_spec(steps=1))
    adapter.denoise([state])
    return adapter.decode(state)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_fill_paints_the_same_from_comfyuis_files(prefix: str, tmp_path: Path) -> None:
    folder = copied(FLUX, tmp_path)
    with_attention(folder)
    expected = fill_picture(load_fill(folder, device="cpu"))
    comfy_flux(folder, prefix)
    assert alike(fill_picture(load_fill(folder, device="cpu")), expected)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_qwen_paints_the_same_from_comfyuis_files(prefix: str, tmp_path: Path) -> None:
    folder = copied(QWEN, tmp_path)
    comfy_qwen(folder, prefix)
    assert alike(qwen_picture(folder), qwen_picture(checkpoint(QWEN)))


@pytest.fixture(scope="module")
def fp8_flux(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """A folder with a transformer in 8-bit floats, and one with its dense numbers.

    The 8-bit file has the original names.
    """
    made: dict[str, tuple[Path, Path]] = {}

    def make(kind: str) -> tuple[Path, Path]:
        if kind not in made:
            parent = tmp_path_factory.mktemp("fp8")
            small, plain = copied(FLUX, parent / "small"), copied(FLUX, parent / "plain")
            tensors = FP8[kind](comfyui.original(flux_names.LAYOUT, small / "transformer"))
            put(small / "transformer", "flux1-fill-dev-fp8.safetensors", tensors)
            put(plain / "transformer", "dense.safetensors", comfyui.dense(tensors))
            made[kind] = (small, plain)
        return made[kind]

    return make


@pytest.mark.parametrize("kind", FP8)
def test_8_bit_floats_stand_for_their_number_times_the_scale(kind: str, fp8_flux: Any) -> None:
    small, plain = (load_fill(folder, device="cpu", weights="dense") for folder in fp8_flux(kind))
    for name, tensor in plain._pipeline.transformer.state_dict().items():
        assert torch.equal(small._pipeline.transformer.state_dict()[name], tensor), name
    original = load_fill(checkpoint(FLUX), device="cpu")._pipeline.transformer.state_dict()
    matrix = "transformer_blocks.0.attn.to_k.weight"
    given = small._pipeline.transformer.state_dict()[matrix]
    assert 0 < float((given - original[matrix]).norm() / original[matrix].norm()) < 0.05


@pytest.mark.parametrize("kind", FP8)
def test_stored_8_bit_floats_take_a_byte_and_give_the_bits_of_dense_weights(kind: str, fp8_flux: Any) -> None:
    folder, _ = fp8_flux(kind)
    dense, stored = (load_fill(folder, device="cpu", weights=weights) for weights in ("dense", "stored"))  # type: ignore[arg-type]
    layers = [module for module in stored._pipeline.transformer.modules() if isinstance(module, Fp8Linear)]
    assert len(layers) == sum(type(m) is torch.nn.Linear for m in dense._pipeline.transformer.modules())
    assert all(layer.weight.nbytes == layer.in_features * layer.out_features for layer in layers)
    assert stored._pipeline.transformer.dtype == torch.float32
    assert np.array_equal(fill_picture(stored), fill_picture(dense))


@pytest.mark.parametrize("offload", ["model", "group", "sequential"])
def test_stored_8_bit_floats_go_with_every_offload(offload: Any, fp8_flux: Any) -> None:
    folder, _ = fp8_flux("a scale for each row")
    plain = load_fill(folder, device="cpu", weights="stored")
    held = load_fill(folder, device="cpu", weights="stored", runtime=RuntimeOptions(offload=offload))
    assert np.array_equal(fill_picture(held), fill_picture(plain))


def test_a_lora_works_on_stored_8_bit_floats(fp8_flux: Any, tmp_path: Path) -> None:
    folder, _ = fp8_flux("scaled")
    file = LoraFile(write_lora(tmp_path, load_fill(checkpoint(FLUX), device="cpu")._pipeline.transformer))
    dense, stored = (
        load_fill(folder, device="cpu", weights=weights, loras={"fast": file})  # type: ignore[arg-type]
        for weights in ("dense", "stored")
    )
    painted = fill_picture(stored, lora="fast")
    assert not np.array_equal(painted, fill_picture(stored))
    assert np.array_equal(painted, fill_picture(dense, lora="fast"))


@pytest.mark.parametrize("free", [0, 2**50])
def test_auto_keeps_8_bit_floats_where_dense_ones_do_not_fit(
    free: int, fp8_flux: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.diffusion.networks.device.free_bytes", lambda _: free)
    folder, _ = fp8_flux("scaled")
    modules = load_fill(folder, device="cpu")._pipeline.transformer.modules()
    assert any(isinstance(module, Fp8Linear) for module in modules) == (free == 0)


@pytest.mark.parametrize("weights", ["stored", "gguf", "auto"])
def test_plain_weights_are_dense_whatever_is_asked_for(weights: Any) -> None:
    modules = load_fill(checkpoint(FLUX), device="cpu", weights=weights)._pipeline.transformer.modules()
    assert not any(isinstance(module, Fp8Linear) for module in modules)


@pytest.mark.parametrize("held", ["dense", "stored", "int8"])
def test_t5_in_8_bit_floats_loads_however_it_is_held(held: reading.Held, tmp_path: Path) -> None:
    folder = copied(FLUX, tmp_path) / "text_encoder_2"
    tensors = in_scaled_fp8(comfyui.stored(folder), keep=("shared", "relative_attention_bias"))
    put(folder, "t5xxl_fp8_e4m3fn_scaled.safetensors", tensors)
    ids = torch.tensor([[5, 6, 7, 1]])
    dense = load_network(T5EncoderModel, folder, torch.float32, T5_IGNORED)
    other = load_network(T5EncoderModel, folder, torch.float32, T5_IGNORED, held=held)
    kind = {"dense": torch.nn.Linear, "stored": Fp8Linear, "int8": Int8Linear}[held]
    assert {type(layer.wo) for layer in other.modules() if hasattr(layer, "wo")} == {kind}
    with torch.inference_mode():
        found, expected = (each(ids).last_hidden_state for each in (other, dense))
    if held == "int8":
        assert 0 < float((found - expected).norm() / expected.norm()) < 0.05
    else:
        assert torch.equal(found, expected)


def test_t5s_layers_that_overflow_stay_in_float32_in_half_precision() -> None:
    net = load_network(T5EncoderModel, checkpoint(FLUX) / "text_encoder_2", torch.float16, held="int8")
    layers = {name: module for name, module in net.named_modules() if isinstance(module, torch.nn.Linear)}
    assert layers
    assert all(name.endswith(".wo") and layer.weight.dtype == torch.float32 for name, layer in layers.items())
    assert net.dtype == torch.float16


@pytest.mark.parametrize("held", ["dense", "stored"])
def test_qwens_text_encoder_loads_from_comfyuis_scaled_file(held: Any, tmp_path: Path) -> None:
    folder = copied(QWEN, tmp_path)
    keep = ("embed_tokens", "lm_head", "patch_embed")
    tensors = in_scaled_fp8(comfyui.stored(folder / "text_encoder"), keep=keep)
    put(folder / "text_encoder", "qwen_2.5_vl_7b_fp8_scaled.safetensors", tensors)
    plain = copied(QWEN, tmp_path / "plain")
    put(plain / "text_encoder", "dense.safetensors", comfyui.dense(tensors))
    assert alike(qwen_picture(folder, text_encoder_weights=held), qwen_picture(plain))


def test_a_file_that_holds_one_marker_too_many_is_of_another_version(tmp_path: Path) -> None:
    folder = copied(QWEN, tmp_path)
    comfy_qwen(folder)
    (path,) = (folder / "transformer").glob("*.safetensors")
    put(folder / "transformer", path.name, {**load_file(path), "__index_timestep_zero__": torch.ones(0)})
    with pytest.raises(ModelLoadError, match=r"of another version than .*config\.json: .* lacks 'zero_cond_t'"):
        qwen_picture(folder)


def faulty(tmp_path: Path, change: Callable[[comfyui.Tensors], object]) -> str:
    folder = copied(FLUX, tmp_path)
    tensors = in_scaled_fp8(comfyui.original(flux_names.LAYOUT, folder / "transformer"), newer=True)
    change(tensors)
    path = put(folder / "transformer", "flux.safetensors", tensors)
    with pytest.raises(ModelLoadError) as caught:
        load_fill(folder, device="cpu")
    assert caught.value.message.startswith(f"{path}: ")
    return caught.value.message


def test_a_scale_of_another_shape_is_named(tmp_path: Path) -> None:
    message = faulty(tmp_path, lambda tensors: tensors.update({"img_in.weight_scale": torch.ones(3)}))
    assert "1 no scales of 8-bit matrices ('img_in.weight_scale' is F32 [3])" in message


def test_a_matrix_that_is_missing_is_named_by_its_original_name(tmp_path: Path) -> None:
    assert "1 missing ('txt_in.weight')" in faulty(tmp_path, lambda tensors: tensors.pop("txt_in.weight"))


def test_another_quantisation_of_comfyui_is_named(tmp_path: Path) -> None:
    described = torch.tensor(list(json.dumps({"format": "mxfp8"}).encode()), dtype=torch.uint8)
    message = faulty(tmp_path, lambda tensors: tensors.update({"img_in.comfy_quant": described}))
    assert "names the format 'mxfp8', not 'float8_e4m3fn'" in message


def test_a_gguf_file_in_the_transformers_folder_is_used_and_two_are_refused(tmp_path: Path) -> None:
    folder = copied(FLUX, tmp_path)
    tensors = comfyui.original(flux_names.LAYOUT, folder / "transformer")
    expected = fill_picture(load_fill(folder, device="cpu"))
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    path = folder / "transformer" / "flux1-fill-dev-F32.gguf"
    write_gguf(path, {name: (tuple(tensor.shape), "F32") for name, tensor in tensors.items()}, "flux")
    with path.open("r+b") as file:
        for name, entry in read_header(path).items():
            file.seek(entry.offset)
            file.write(tensors[name].numpy().tobytes())
    assert alike(fill_picture(load_fill(folder, device="cpu")), expected)
    shutil.copyfile(path, folder / "transformer" / "other.gguf")
    with pytest.raises(ModelLoadError, match="holds 2 GGUF files"):
        load_fill(folder, device="cpu")


def test_one_of_several_unknown_files_is_expected(tmp_path: Path) -> None:
    folder = copied(FLUX, tmp_path)
    tensors = comfyui.stored(folder / "vae")
    put(folder / "vae", "ae.safetensors", tensors)
    save_file(tensors, folder / "vae" / "copy.safetensors")
    with pytest.raises(ModelLoadError, match="and 2 other safetensors files, of which one is expected"):
        load_fill(folder, device="cpu")


def test_the_log_tells_how_far_the_reading_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "services.diffusion.weights.reading")
    monkeypatch.setattr(reading, "SECONDS_BETWEEN_LINES", 0.0)
    folder = checkpoint(QWEN) / "text_encoder"
    load_network(Qwen2_5_VLForConditionalGeneration, folder, torch.float32)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith(f"{folder}: ")]
    assert lines
    assert all(line.endswith("GB read") for line in lines)
