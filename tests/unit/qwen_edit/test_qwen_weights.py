"""How Qwen-Image-Edit's weights are held: GGUF and 8-bit, and where they rest."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from diffusers import GGUFQuantizationConfig, QwenImageTransformer2DModel
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformerBlock

from demo.tiny.qwen_edit import TEXT_WIDTH
from imgedit.errors import ModelLoadError, SettingsError
from services.diffusion.networks.lora import LoraFile
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.diffusion.weights import gguf_weights
from services.diffusion.weights.int8 import Int8Linear
from services.qwen_edit import gguf_names
from services.qwen_edit.instructions import RewriteSpec
from services.qwen_edit.model import QwenEditAdapter, load
from tests.support.engine import checkpoint, photo, qwen, qwen_spec
from tests.support.lightning import QWEN, adapter, edited, lightning_file, plainly_edited, weights

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def write_gguf(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """Matrices as Q8_0, the rest as F32, like published Qwen-Image files."""
    kind = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(path, "qwen_image")
    for name, tensor in tensors.items():
        if tensor.ndim == 2:
            writer.add_tensor(name, gguf.quantize(tensor.numpy(), kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "qwen.gguf", weights())


def velocity(transformer: QwenImageTransformer2DModel) -> torch.Tensor:
    noise = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        output: torch.Tensor = transformer(
            hidden_states=torch.randn(1, 24, 64, generator=noise),
            encoder_hidden_states=torch.randn(1, 8, TEXT_WIDTH, generator=noise),
            timestep=torch.tensor([0.5]),
            img_shapes=[[(1, 4, 6)]],
            return_dict=False,
        )[0]
    return output


def test_gguf_weights_give_the_bits_of_diffusers_own_loader(file: Path) -> None:
    config = checkpoint(QWEN) / "transformer"
    published = QwenImageTransformer2DModel.from_single_file(
        str(file),
        quantization_config=GGUFQuantizationConfig(compute_dtype=torch.float32),
        config=str(config.parent),
        subfolder="transformer",
        torch_dtype=torch.float32,
    )
    for how in ("dense", "gguf"):
        ours = gguf_weights.load_transformer(
            gguf_names.LAYOUT, file, config, device=CPU, dtype=torch.float32, weights=how
        )
        assert torch.equal(velocity(ours), velocity(published))


def test_an_edit_on_gguf_weights_is_close_to_that_on_the_folders(file: Path) -> None:
    model = adapter(gguf=file, weights="gguf")
    difference = abs(edited(model).astype(int) - plainly_edited())
    assert difference.max() > 0
    assert difference.mean() < 3
    assert model.revision != qwen().revision


@pytest.mark.parametrize("weights", ["gguf", "dense"])
@pytest.mark.parametrize("offload", ["model", "group", "sequential"])
def test_a_gguf_file_goes_with_every_offload(offload: Any, weights: Any, file: Path) -> None:
    plain = adapter(gguf=file, weights=weights)
    held = adapter(gguf=file, weights=weights, runtime=RuntimeOptions(offload=offload))
    assert np.array_equal(edited(held), edited(plain))


def test_a_lora_works_on_gguf_weights(file: Path, tmp_path: Path) -> None:
    model = adapter(gguf=file, weights="gguf", loras={"fast": LoraFile(lightning_file(tmp_path))})
    assert not np.array_equal(edited(model, lora="fast"), edited(model))


@pytest.mark.parametrize("change", ["missing", "surplus"])
def test_a_gguf_file_of_another_model_is_refused_by_tensor_name(change: str, tmp_path: Path) -> None:
    tensors = weights()
    tensors["extra.weight"] = tensors["img_in.weight"]
    if change == "missing":
        del tensors["img_in.weight"]
    with pytest.raises(ModelLoadError, match=r"Qwen.*img_in\.weight" if change == "missing" else r"extra\.weight"):
        adapter(gguf=write_gguf(tmp_path / "other.gguf", tensors))


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("newer", [True, False])
def test_a_gguf_file_and_its_configuration_are_of_one_version(newer: bool, marked: bool, tmp_path: Path) -> None:
    """Files of the newer model say so by an empty tensor.

    With the other configuration pictures would be wrong.
    """
    marker = {"__index_timestep_zero__": torch.ones(0)} if marked else {}
    path = write_gguf(tmp_path / "some.gguf", {**weights(), **marker})
    config = tmp_path / "transformer" / "config.json"
    config.parent.mkdir()
    content = json.loads((checkpoint(QWEN) / "transformer" / "config.json").read_text())
    config.write_text(json.dumps({**content, "zero_cond_t": newer}))
    options = {"device": CPU, "dtype": torch.float32, "weights": "dense"}
    lacks = "zero_cond_t" if marked else "__index_timestep_zero__"
    if newer == marked:
        loaded: Any = gguf_weights.load_transformer(gguf_names.LAYOUT, path, config.parent, **options)  # type: ignore[arg-type]
        assert loaded.zero_cond_t == newer
        return
    with pytest.raises(ModelLoadError, match=rf"some\.gguf: of another version .* lacks .*{lacks}"):
        gguf_weights.load_transformer(gguf_names.LAYOUT, path, config.parent, **options)  # type: ignore[arg-type]


def test_an_int8_text_encoder_holds_a_byte_per_weight_and_sees_almost_the_same() -> None:
    model = adapter(text_encoder_weights="int8")
    modules = dict(model._pipeline.text_encoder.named_modules())
    plain = [name for name, module in modules.items() if type(module) is torch.nn.Linear]
    layers = [module for module in modules.values() if isinstance(module, Int8Linear)]
    assert plain == ["lm_head"]
    assert all(layer.weight.nbytes == layer.in_features * layer.out_features for layer in layers)
    seen, expected = (adapter_features(one) for one in (model, qwen()))
    assert not torch.equal(seen, expected)
    assert float((seen - expected).norm() / expected.norm()) < 0.05


def adapter_features(model: QwenEditAdapter) -> torch.Tensor:
    return model._conditioner._look("옷을 빨간색으로 바꿔줘", (photo(),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_8_bit_layer_rounds_each_weight_to_its_rows_255_values(dtype: torch.dtype) -> None:
    linear = torch.nn.Linear(48, 20).to(dtype)
    layer = Int8Linear(linear)
    inputs = torch.eye(48, dtype=dtype)
    with torch.inference_mode():
        found = (layer(inputs) - linear.bias).float().T
    step = linear.weight.float().abs().amax(dim=1, keepdim=True) / 127
    slack = 1e-6 if dtype == torch.float32 else 2 * step.max()
    assert bool(((found - linear.weight.float()).abs() <= step / 2 + slack).all())


def test_a_row_of_zeros_stays_zero() -> None:
    linear = torch.nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        linear.weight[0].zero_()
    assert float(Int8Linear(linear)(torch.ones(1, 4))[0, 0]) == 0.0


def test_the_text_encoders_attention_is_a_setting_and_a_wrong_one_is_named() -> None:
    features = adapter_features(adapter(text_encoder_attention="eager"))
    assert torch.allclose(features, adapter_features(qwen()), atol=1e-4)
    with pytest.raises(SettingsError, match="abacus"):
        adapter(text_encoder_attention="abacus")


@pytest.mark.parametrize("offload", ["none", "model", "group", "sequential"])
@pytest.mark.parametrize("text_encoder", ["none", "model", "sequential"])
def test_the_text_encoder_rests_where_its_own_setting_says_and_no_pixel_changes(
    offload: Any, text_encoder: Any
) -> None:
    model = adapter(runtime=RuntimeOptions(offload=offload, text_encoder_offload=text_encoder))
    assert np.array_equal(edited(model), plainly_edited())


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # by torch itself, on its first compilation
def test_regional_compilation_is_of_the_transformers_blocks_alone() -> None:
    """Whether a module was compiled is torch's own mark.

    Compiling for real takes half a minute.
    """
    model = adapter(runtime=RuntimeOptions(compile="regional"))
    assert compiled(model._pipeline.transformer) == {QwenImageTransformerBlock}
    assert not compiled(model._pipeline.text_encoder)


def compiled(network: torch.nn.Module) -> set[type]:
    return {type(module) for module in network.modules() if hasattr(module.forward, "_torchdynamo_orig_callable")}


def test_a_text_encoder_that_is_offloaded_alone_leaves_when_the_transformer_runs() -> None:
    model = adapter(runtime=RuntimeOptions(text_encoder_offload="model"))
    encoder = model._pipeline.text_encoder
    present = encoder._hf_hook._present
    adapter_features(model)
    assert list(present) == [encoder]
    state = model.prepare(qwen_spec())
    assert not present
    model.denoise([state])
    adapter_features(model)
    assert list(present) == [encoder]


def test_a_text_encoder_that_stays_does_not_push_the_transformer_out() -> None:
    model = adapter(runtime=RuntimeOptions(offload="model", text_encoder_offload="none"))
    present = model._pipeline.transformer._hf_hook._present
    state = model.prepare(qwen_spec())
    model.denoise([state])
    adapter_features(model)
    assert list(present) == [model._pipeline.transformer]


@pytest.mark.parametrize(
    "options",
    [
        {"text_encoder_weights": "int8"},
        {"runtime": RuntimeOptions(text_encoder_offload="model")},
        {"runtime": RuntimeOptions(offload="sequential")},
        {"text_encoder_weights": "int8", "runtime": RuntimeOptions(offload="model", text_encoder_offload="sequential")},
    ],
)
def test_prompts_are_translated_the_same_however_the_text_encoder_is_held(
    models: Path, options: dict[str, Any]
) -> None:
    spec = RewriteSpec("translate", "배경을 현대적인 체육관으로 변경", max_tokens=64)
    held = load(models / QWEN, device="cpu", **options)
    assert held.rewrite(spec, lambda: False) == "Change the background to a modern gym"
