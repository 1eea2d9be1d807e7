"""Every network of a checkpoint is compared with its files before it is loaded.

Names, shapes, number formats.
"""

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, FluxTransformer2DModel, ModelMixin, QwenImageTransformer2DModel
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    T5Config,
    T5EncoderModel,
)

from imgedit.errors import ModelLoadError
from imgedit.weights.safetensors_header import Entry
from services.diffusion.weights import stored_weights
from services.diffusion.weights.checkpoint import load_network
from services.diffusion.weights.layout import shapes_of
from services.fill import gguf_names as flux_names
from services.fill.model import CLIP_IGNORED, T5_IGNORED
from services.fill.model import load as load_fill
from services.qwen_edit import gguf_names as qwen_names
from services.qwen_edit.model import load as load_qwen
from services.qwen_edit.vae import PictureVae
from tests.support.engine import checkpoint

FLUX, QWEN = "FLUX.1-Fill-dev", "Qwen-Image-Edit-2509"
IGNORED = {CLIPTextModel: CLIP_IGNORED, T5EncoderModel: T5_IGNORED}

Tensors = dict[str, torch.Tensor]

NETWORKS = [
    (FLUX, "transformer", FluxTransformer2DModel),
    (FLUX, "vae", AutoencoderKL),
    (FLUX, "text_encoder", CLIPTextModel),
    (FLUX, "text_encoder_2", T5EncoderModel),
    (QWEN, "transformer", QwenImageTransformer2DModel),
    (QWEN, "vae", PictureVae),
    (QWEN, "text_encoder", Qwen2_5_VLForConditionalGeneration),
]
every_network = pytest.mark.parametrize(("model", "part", "cls"), NETWORKS)


def copied(model: str, part: str, target: Path) -> Path:
    return Path(shutil.copytree(checkpoint(model) / part, target / model / part))


def file_of(folder: Path) -> Path:
    (path,) = folder.glob("*.safetensors")
    return path


def change(folder: Path, edit: Callable[[Tensors], object]) -> Path:
    """The folder's safetensors file after an edit of its entries."""
    path = file_of(folder)
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def some_matrix(tensors: Tensors) -> str:
    """A matrix that no other shares its numbers with, not square."""
    names = [name for name, tensor in tensors.items() if tensor.ndim == 2 and tensor.shape[0] != tensor.shape[1]]
    return next((name for name in sorted(names) if "embed" not in name and "shared" not in name), sorted(tensors)[1])


def refusal(cls: Any, folder: Path) -> str:
    with pytest.raises(ModelLoadError) as caught:
        load_network(cls, folder, torch.float32, IGNORED.get(cls, {}))
    assert "\n" not in caught.value.message
    return caught.value.message


@every_network
def test_the_networks_own_entries_load(model: str, part: str, cls: Any) -> None:
    network = load_network(cls, checkpoint(model) / part, torch.float32)
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


@every_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_numbers_are_those_of_the_librarys_own_loading(model: str, part: str, cls: Any, dtype: torch.dtype) -> None:
    """Buffers too, and what stays in float32 in half precision."""
    folder = checkpoint(model) / part
    ours = load_network(cls, folder, dtype)
    option = "torch_dtype" if issubclass(cls, ModelMixin) else "dtype"
    theirs = cls.from_pretrained(str(folder), local_files_only=True, **{option: dtype})
    for kind in ("state_dict", "named_buffers", "named_parameters"):
        found, expected = dict(getattr(ours, kind)()), dict(getattr(theirs, kind)())
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert found[name].dtype == tensor.dtype, name
            assert torch.equal(found[name], tensor), name
    assert ours.dtype == theirs.dtype
    assert not ours.training


@every_network
def test_missing_entries_are_counted_and_named(model: str, part: str, cls: Any, tmp_path: Path) -> None:
    folder = copied(model, part, tmp_path)
    names: list[str] = []

    def drop(tensors: Tensors) -> None:
        names.append(some_matrix(tensors))
        del tensors[names[0]]

    path = change(folder, drop)
    message = refusal(cls, folder)
    assert message.startswith(f"{path}: ")
    assert "1 missing" in message
    assert names[0].split(".", 1)[1] in message


@every_network
def test_surplus_entries_are_counted_and_named(model: str, part: str, cls: Any, tmp_path: Path) -> None:
    folder = copied(model, part, tmp_path)
    extra = {f"blocks.{i}.scale_weight": torch.ones(()) for i in range(5)}
    path = change(folder, lambda tensors: tensors.update(extra))
    message = refusal(cls, folder)
    assert message.startswith(f"{path}: ")
    assert re.search(r"5 surplus \('\S*blocks\.0\.scale_weight', .*, …\)", message)


@every_network
def test_a_misshapen_entry_is_named_with_both_shapes(model: str, part: str, cls: Any, tmp_path: Path) -> None:
    folder = copied(model, part, tmp_path)

    def reshape(tensors: Tensors) -> None:
        name = some_matrix(tensors)
        tensors[name] = tensors[name].flatten()[:6].reshape(2, 3).clone()

    path = change(folder, reshape)
    message = refusal(cls, folder)
    assert message.startswith(f"{path}: ")
    assert re.search(r"1 misshapen \('\S+' is \[2, 3\] instead of \[", message)


@every_network
def test_a_foreign_number_format_is_named(model: str, part: str, cls: Any, tmp_path: Path) -> None:
    folder = copied(model, part, tmp_path)
    kind, named = {"transformer": (torch.float8_e5m2, "F8_E5M2"), "vae": (torch.int32, "I32")}.get(
        part, (torch.int8, "I8")
    )

    def cast(tensors: Tensors) -> None:
        name = some_matrix(tensors)
        tensors[name] = tensors[name].to(kind)

    change(folder, cast)
    assert re.search(rf"1 in a foreign number format \('\S+' is {named}\)", refusal(cls, folder))


@every_network
def test_half_precision_is_no_foreign_format(model: str, part: str, cls: Any, tmp_path: Path) -> None:
    folder = copied(model, part, tmp_path)

    def cast(tensors: Tensors) -> None:
        tensors.update({name: tensor.half() for name, tensor in tensors.items()})

    change(folder, cast)
    assert next(load_network(cls, folder, torch.float32).parameters()).dtype == torch.float32


@every_network
def test_a_git_lfs_pointer_is_called_that(model: str, part: str, cls: Any, tmp_path: Path) -> None:
    folder = copied(model, part, tmp_path)
    file_of(folder).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert refusal(cls, folder).startswith(f"{file_of(folder)}: a Git LFS pointer")


@pytest.mark.parametrize(
    ("model", "name"), [(FLUX, "tokenizer_2/tokenizer.json"), (QWEN, "transformer/config.json"), (QWEN, "processor/x")]
)
def test_a_git_lfs_pointer_in_the_place_of_another_file_is_called_that(model: str, name: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint(model), tmp_path / model))
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ModelLoadError, match=rf"{re.escape(name)}: a Git LFS pointer"):
        (load_fill if model == FLUX else load_qwen)(folder, device="cpu")


def sharded(folder: Path) -> list[Path]:
    """The folder's file as two shards with an index."""
    path = file_of(folder)
    tensors = load_file(path)
    path.unlink()
    shards = [path.with_name(f"{path.stem}-0000{i}-of-00002.safetensors") for i in (1, 2)]
    where = {name: shards[i % 2] for i, name in enumerate(sorted(tensors))}
    for shard in shards:
        kept = {name: tensors[name] for name in tensors if where[name] == shard}
        save_file(kept, shard, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": {name: shard.name for name, shard in where.items()}}
    path.with_name(f"{path.name}.index.json").write_text(json.dumps(index))
    return shards


@every_network
def test_shards_are_judged_as_one_file(model: str, part: str, cls: Any, tmp_path: Path) -> None:
    folder = copied(model, part, tmp_path)
    shards = sharded(folder)
    loaded = load_network(cls, folder, torch.float32).state_dict()
    whole = load_network(cls, checkpoint(model) / part, torch.float32).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in whole.items())
    tensors = load_file(shards[1])
    tensors.pop(some_matrix(tensors))
    save_file(tensors, shards[1], metadata={"format": "pt"})
    assert refusal(cls, folder).startswith(f"{folder}: not the weights of")
    shards[1].unlink()
    assert f"1 of 2 files are missing ({shards[1].name})" in refusal(cls, folder)


def test_a_folder_with_both_a_file_and_an_index_is_refused(tmp_path: Path) -> None:
    folder = copied(FLUX, "transformer", tmp_path)
    shards = sharded(folder)
    shutil.copyfile(shards[0], folder / "diffusion_pytorch_model.safetensors")
    assert "holds both" in refusal(FluxTransformer2DModel, folder)


def test_an_index_leads_nowhere_else(tmp_path: Path) -> None:
    folder = copied(FLUX, "transformer", tmp_path)
    sharded(folder)
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../vae/diffusion_pytorch_model.safetensors"}}))
    assert refusal(FluxTransformer2DModel, folder).startswith(f"{index}: ")
    index.write_text(json.dumps({"weight_map": []}))
    assert refusal(FluxTransformer2DModel, folder).startswith(f"{index}: ")


BF16_7B = {"vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
PUBLISHED = {
    "CLIP-L": (
        CLIPTextModel,
        CLIPTextConfig(
            vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
        ),
        lambda name: f"text_model.{name}",
        196,
    ),
    "T5-XXL": (
        T5EncoderModel,
        T5Config(
            vocab_size=32128,
            d_model=4096,
            d_ff=10240,
            d_kv=64,
            num_layers=24,
            num_heads=64,
            feed_forward_proj="gated-gelu",
        ),
        lambda name: name,
        220,
    ),
    "Qwen2.5-VL-7B": (
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLConfig(  # type: ignore[call-arg]
            **BF16_7B,
            num_attention_heads=28,
            num_key_value_heads=4,
            tie_word_embeddings=False,
            vision_config={"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584},
        ),
        lambda name: name.replace("model.visual.", "visual.").replace("model.language_model.", "model."),
        729,
    ),
}


@pytest.mark.parametrize("published", PUBLISHED)
def test_the_published_names_are_the_networks(published: str) -> None:
    """Of the published sizes, on the meta device.

    Nothing is missing or left over after the library's renamings.
    """
    cls, config, name_in_file, count = PUBLISHED[published]
    with torch.device("meta"):
        network = cls(config)
    wanted = network.state_dict()
    entries = {name_in_file(name): Entry("BF16", tuple(tensor.shape), 0) for name, tensor in wanted.items()}
    assert len(entries) == count
    found = stored_weights.network_names(network, entries, sharded=True)
    assert not any(stored_weights.faults(found, wanted, stored_weights.tied(network)).values())
    assert stored_weights.faults({}, wanted)["missing"] == [repr(name) for name in wanted]


def test_published_gguf_files_have_as_many_tensors_as_the_name_tables() -> None:
    with init_empty_weights():
        flux = FluxTransformer2DModel(in_channels=384, out_channels=64, guidance_embeds=True)
        qwen = QwenImageTransformer2DModel()
    for network, layout, count in ((flux, flux_names.LAYOUT, 780), (qwen, qwen_names.LAYOUT, 1933)):
        shapes = shapes_of(network)
        names = layout.names(network.config, shapes)
        assert len(names) == count
        assert sorted(part for parts in names.values() for part in parts) == sorted(shapes)


def same_numbers(cls: Any, folder: Path, original: Path) -> bool:
    ignored = IGNORED.get(cls, {})
    found = load_network(cls, folder, torch.float32, ignored).state_dict()
    wanted = load_network(cls, original, torch.float32).state_dict()
    return all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def renamed(tensors: Tensors, start: str, replacement: str) -> None:
    for name in [name for name in tensors if name.startswith(start)]:
        tensors[replacement + name.removeprefix(start)] = tensors.pop(name)


def test_clips_published_names_load(tmp_path: Path) -> None:
    folder = copied(FLUX, "text_encoder", tmp_path)

    def publish(tensors: Tensors) -> None:
        renamed(tensors, "", "text_model.")
        tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]

    change(folder, publish)
    assert same_numbers(CLIPTextModel, folder, checkpoint(FLUX) / "text_encoder")


@pytest.mark.parametrize(("language", "vision"), [("model.", "visual."), ("model.language_model.", "model.visual.")])
def test_qwens_old_and_new_names_load(language: str, vision: str, tmp_path: Path) -> None:
    folder = copied(QWEN, "text_encoder", tmp_path)

    def rename(tensors: Tensors) -> None:
        pictures = {name for name in tensors if name.startswith("visual.")}
        assert pictures
        assert not any(name.startswith("model.language_model") for name in tensors)
        texts = [name for name in tensors if name.startswith("model.")]
        for name in texts:
            tensors[f"{language}{name.removeprefix('model.')}"] = tensors.pop(name)
        for name in pictures:
            tensors[f"{vision}{name.removeprefix('visual.')}"] = tensors.pop(name)

    change(folder, rename)
    assert same_numbers(Qwen2_5_VLForConditionalGeneration, folder, checkpoint(QWEN) / "text_encoder")


@pytest.mark.parametrize("old_first", [True, False])
def test_an_entry_under_its_old_and_its_new_name_is_refused(old_first: bool, tmp_path: Path) -> None:
    folder = copied(QWEN, "text_encoder", tmp_path)
    with init_empty_weights():
        config = Qwen2_5_VLConfig.from_pretrained(folder)
        network = Qwen2_5_VLForConditionalGeneration(config)
    names = ["model.norm.weight", "model.language_model.norm.weight"]
    entries = {name: Entry("F32", (1,), 4) for name in (names if old_first else names[::-1])}
    found = stored_weights.network_names(network, entries, sharded=False)
    (surplus,) = stored_weights.faults(found, network.state_dict())["surplus"]
    assert surplus.endswith("norm.weight (twice)'")


@pytest.mark.parametrize("names", [("shared",), ("encoder.embed_tokens",), ("shared", "encoder.embed_tokens")])
def test_a_tied_table_may_stand_under_either_name(names: tuple[str, ...], tmp_path: Path) -> None:
    folder = copied(FLUX, "text_encoder_2", tmp_path)

    def rename(tensors: Tensors) -> None:
        table = tensors.pop("shared.weight")
        tensors.update({f"{name}.weight": table.clone() for name in names})

    change(folder, rename)
    assert same_numbers(T5EncoderModel, folder, checkpoint(FLUX) / "text_encoder_2")


def test_a_tied_table_that_is_nowhere_is_missing(tmp_path: Path) -> None:
    folder = copied(FLUX, "text_encoder_2", tmp_path)
    change(folder, lambda tensors: tensors.pop("shared.weight"))
    assert "2 missing ('shared.weight', 'encoder.embed_tokens.weight')" in refusal(T5EncoderModel, folder)


def test_a_whole_t5_loads_and_the_log_says_what_was_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = copied(FLUX, "text_encoder_2", tmp_path)
    extra = {"decoder.final_layer_norm.weight": torch.ones(2), "lm_head.weight": torch.ones(2, 2)}
    change(folder, lambda tensors: tensors.update(extra))
    with caplog.at_level(logging.INFO, "services.diffusion.weights.stored_weights"):
        assert same_numbers(T5EncoderModel, folder, checkpoint(FLUX) / "text_encoder_2")
    assert "1 entries decoder." in caplog.text


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2", "vae", "transformer"])
def test_a_service_does_not_start_on_random_numbers(part: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint(FLUX), tmp_path / FLUX))
    change(folder / part, lambda tensors: tensors.pop(some_matrix(tensors)))
    with pytest.raises(ModelLoadError, match=rf"{part}/\S+: not the weights of \w+: 1 missing"):
        load_fill(folder, device="cpu")


def test_an_8_bit_text_encoder_is_made_from_a_whole_one_only(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint(QWEN), tmp_path / QWEN))
    change(folder / "text_encoder", lambda tensors: tensors.pop(some_matrix(tensors)))
    with pytest.raises(ModelLoadError, match="1 missing"):
        load_qwen(folder, device="cpu", text_encoder_weights="int8")
