"""`imgedit models adopt` makes folders that the services read.

Its input are ComfyUI's files of the published sizes, as headers.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, QwenImageTransformer2DModel
from transformers import (
    CLIPTextModel,
    CLIPTokenizer,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    T5EncoderModel,
    T5Tokenizer,
)
from typer.testing import CliRunner

from demo.tiny import tokenizers
from imgedit.cli.main import app
from imgedit.local.doctor_weights import weights
from imgedit.weights import adopt
from imgedit.weights.identify import identified
from services.diffusion.networks.loading import Source
from services.diffusion.weights import checkpoint, gguf_weights
from services.diffusion.weights.checkpoint import check_checkpoint, load_part
from services.diffusion.weights.original_names import Layout, joined_shape, shapes_of
from services.fill import gguf_names as flux_names
from services.fill import model as fill_model
from services.fill import vae_names as flux_vae
from services.qwen_edit import gguf_names as qwen_names
from services.qwen_edit import model as qwen_model
from services.qwen_edit import vae_names as qwen_vae
from services.qwen_edit.vae import SingleImageVae
from tests.support import published
from tests.support.engine import checkpoint as tiny
from tests.support.published import gguf_kinds, network, write_gguf, write_safetensors

pytestmark = pytest.mark.slow

FLUX, QWEN, QWEN_2511, BEN2 = "FLUX.1-Fill-dev", "Qwen-Image-Edit-2509", "Qwen-Image-Edit-2511", "BEN2"
QWEN_VAE = Layout("Qwen-Image's VAE", SingleImageVae, qwen_vae.name_table)

Entries = dict[str, tuple[tuple[int, ...], str]]


def own(name: str, dtype: str, start: str = "") -> Entries:
    """A network's tensors under its library's names."""
    return {start + key: (tuple(tensor.shape), dtype) for key, tensor in network(name).state_dict().items()}


def original(layout: Layout, name: str, dtype: str) -> Entries:
    """A network's tensors under its original names."""
    shapes = shapes_of(network(name))
    names = layout.names(network(name).config, shapes)
    entries = {key: (joined_shape(parts, shapes), dtype) for key, parts in names.items()}
    return {
        key: ((*shape, 1, 1) if "attn_1" in key and len(shape) == 2 else shape, kind)
        for key, (shape, kind) in entries.items()
    }


def old_qwen(entries: Entries) -> Entries:
    """Under the names before transformers 4.52, as ComfyUI distributes them."""
    return {
        name.replace("model.visual.", "visual.").replace("model.language_model.", "model."): value
        for name, value in entries.items()
    }


def scaled(entries: Entries) -> Entries:
    """Matrices in 8-bit floats with one scale each."""
    result: Entries = {"scaled_fp8": ((2,), "F8_E4M3")}
    for name, (shape, dtype) in entries.items():
        if len(shape) == 2 and "layers" in name:
            result[name] = (shape, "F8_E4M3")
            result[f"{name.removesuffix('.weight')}.scale_weight"] = ((), "F32")
        else:
            result[name] = (shape, dtype)
    return result


def flux_gguf(path: Path) -> None:
    write_gguf(path, gguf_kinds(flux_names.LAYOUT, network("FLUX transformer"), {"": "Q8_0"}, outer="BF16"), "flux")


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ComfyUI: models of every kind, and its own tokenizers."""
    root = tmp_path_factory.mktemp("comfy") / "ComfyUI"
    models = root / "models"
    for folder in ("unet", "diffusion_models", "text_encoders", "clip", "vae", "loras/mine", "BEN2", "checkpoints"):
        (models / folder).mkdir(parents=True)
    flux_gguf(models / "unet" / "flux1-fill-dev-Q8_0.gguf")
    write_safetensors(
        models / "diffusion_models" / "flux1-fill-dev-fp8.safetensors",
        original(flux_names.LAYOUT, "FLUX transformer", "F8_E4M3"),
    )
    dev = original(flux_names.LAYOUT, "FLUX transformer", "F8_E4M3") | {"img_in.weight": ((3072, 64), "F8_E4M3")}
    write_safetensors(models / "diffusion_models" / "flux1-dev-fp8.safetensors", dev)
    write_safetensors(
        models / "diffusion_models" / "qwen_image_edit_2509_fp8_e4m3fn.safetensors",
        own("Qwen transformer", "F8_E4M3", "model.diffusion_model."),
    )
    write_safetensors(models / "diffusion_models" / "qwen_image_fp8.safetensors", own("Qwen transformer", "F8_E4M3"))
    clip = {f"text_model.{name}": value for name, value in own("CLIP-L", "F16").items()}
    write_safetensors(models / "clip" / "clip_l.safetensors", clip)
    t5 = own("T5-XXL", "F16")
    del t5["encoder.embed_tokens.weight"]
    write_safetensors(models / "text_encoders" / "t5xxl_fp16.safetensors", t5)
    write_safetensors(
        models / "text_encoders" / "t5xxl_fp8_e4m3fn.safetensors",
        {name: (shape, "F8_E4M3") for name, (shape, _) in t5.items()},
    )
    write_safetensors(
        models / "text_encoders" / "qwen_2.5_vl_7b_fp8_scaled.safetensors",
        scaled(old_qwen(own("Qwen2.5-VL-7B", "BF16"))),
    )
    write_safetensors(models / "vae" / "ae.safetensors", original(flux_vae.LAYOUT, "FLUX VAE", "F32"))
    write_safetensors(models / "vae" / "qwen_image_vae.safetensors", original(QWEN_VAE, "Qwen VAE", "BF16"))
    write_safetensors(models / "vae" / "wan_2.1_vae.safetensors", original(QWEN_VAE, "Qwen VAE", "BF16"))
    write_safetensors(
        models / "loras" / "mine" / "Lightning-4steps.safetensors",
        {"transformer_blocks.0.img_mod.1.lora_down.weight": ((4, 3072), "BF16")},
    )
    write_safetensors(models / "vae" / "odd.safetensors", {"a.weight": ((2, 2), "F32")})
    (models / "vae" / "cut.safetensors").write_bytes((1 << 20).to_bytes(8, "little") + b"{}")
    (models / "BEN2" / "BEN2_Base.pth").write_bytes(b"PK")
    write_safetensors(models / "checkpoints" / "any.safetensors", {"a.weight": ((2, 2), "F32")})
    write_tokenizers(root / "comfy")
    return models


def write_tokenizers(comfy: Path) -> None:
    """Write small vocabularies into ComfyUI's tokenizer folders.

    Their configurations differ from the published ones.
    """
    clip = comfy / "sd1_tokenizer"
    clip.mkdir(parents=True)
    (clip / "vocab.json").write_text(json.dumps(tokenizers.clip().get_vocab()))
    (clip / "merges.txt").write_text("#version: 0.2\n")
    (clip / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 8192}))
    t5 = comfy / "text_encoders" / "t5_tokenizer"
    tokenizers.t5().save_pretrained(t5)
    (t5 / "tokenizer_config.json").write_text("{}")
    qwen = comfy / "text_encoders" / "qwen25_tokenizer"
    qwen.mkdir()
    vocabulary = {f"t{number}": number for number in range(151_643 - 256)}
    alphabet = {sign: 151_643 - 256 + place for place, sign in enumerate(tokenizers.byte_alphabet())}
    (qwen / "vocab.json").write_text(json.dumps(vocabulary | alphabet))
    (qwen / "merges.txt").write_text("#version: 0.2\n")


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["models", "adopt", *map(str, arguments)], env={"COLUMNS": "400"})
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def adopted(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    target = tmp_path_factory.mktemp("adopted") / "models"
    code, output = run(comfyui, "--models", target)
    assert code == 0, output
    return target, output


def test_every_model_is_complete_and_what_was_done_is_told(adopted: tuple[Path, str], comfyui: Path) -> None:
    target, output = adopted
    for model in (BEN2, FLUX, QWEN):
        assert f"{model}: complete" in output
    assert QWEN_2511 not in output
    assert f"start with: imgedit up --models {target}" in output
    assert (target / FLUX / "transformer" / "flux1-fill-dev-Q8_0.gguf").resolve() == (
        comfyui / "unet" / "flux1-fill-dev-Q8_0.gguf"
    )
    assert "IMGEDIT_QWEN_EDIT_LORA_FAST=loras/Lightning-4steps.safetensors" in output
    assert (target / BEN2 / "BEN2_Base.pth").is_symlink()


@pytest.mark.parametrize(
    "line",
    [
        "left out: diffusion_models/flux1-fill-dev-fp8.safetensors: flux1-fill-dev-Q8_0.gguf was taken",
        "left out: text_encoders/t5xxl_fp8_e4m3fn.safetensors: t5xxl_fp16.safetensors was taken, --take names another",
        "left out: diffusion_models/flux1-dev-fp8.safetensors: a FLUX.1 transformer, not that of Fill",
        "left out: diffusion_models/qwen_image_fp8.safetensors: a transformer of Qwen-Image; only those of Edit-2509",
        "left out: vae/wan_2.1_vae.safetensors: a VAE like Qwen-Image's; its file's name has no qwen in it",
        "not understood: vae/odd.safetensors: its tensors are those of no model that is known here",
        "not understood: vae/cut.safetensors: ",
    ],
)
def test_every_other_file_is_named_with_a_reason(line: str, adopted: tuple[Path, str]) -> None:
    assert line in adopted[1]


def test_files_of_other_folders_are_none_of_ours(adopted: tuple[Path, str]) -> None:
    assert "checkpoints" not in adopted[1]


def test_the_services_find_exactly_their_networks_in_the_adopted_folders(adopted: tuple[Path, str]) -> None:
    target, _ = adopted
    flux, qwen = target / FLUX, target / QWEN
    checkpoint.check_folder(flux, fill_model.PIPELINE, fill_model.PARTS)
    checkpoint.check_folder(qwen, qwen_model.PIPELINE, qwen_model.PARTS)
    source = Source(flux).resolved()
    assert source.gguf == flux / "transformer" / "flux1-fill-dev-Q8_0.gguf"
    gguf_weights.open_file(flux_names.LAYOUT, source.gguf, flux / "transformer")
    number = torch.bfloat16
    check_checkpoint(AutoencoderKL, flux / "vae", number, layout=flux_vae.LAYOUT)
    check_checkpoint(CLIPTextModel, flux / "text_encoder", number, fill_model.CLIP_IGNORED)
    check_checkpoint(T5EncoderModel, flux / "text_encoder_2", number, fill_model.T5_IGNORED)
    assert check_checkpoint(
        QwenImageTransformer2DModel, qwen / "transformer", number, layout=qwen_names.LAYOUT
    ).in_8_bits
    check_checkpoint(SingleImageVae, qwen / "vae", number, layout=QWEN_VAE)
    assert len(check_checkpoint(Qwen2_5_VLForConditionalGeneration, qwen / "text_encoder", number).scales) == 28 * 7


def test_an_adopted_transformer_in_8_bit_floats_is_fills(
    adopted: tuple[Path, str], comfyui: Path, tmp_path: Path
) -> None:
    taken = comfyui / "diffusion_models" / "flux1-fill-dev-fp8.safetensors"
    code, output = run(comfyui, "--models", tmp_path / "models", "--take", taken)
    assert code == 0, output
    folder = tmp_path / "models" / FLUX / "transformer"
    assert [path.resolve() for path in folder.glob("*.safetensors")] == [taken]
    stored = check_checkpoint(FluxTransformer2DModel, folder, torch.bfloat16, layout=flux_names.LAYOUT)
    assert len(stored.parts) == 780


def test_the_tokenizers_are_comfyuis_with_the_published_settings(adopted: tuple[Path, str]) -> None:
    target, _ = adopted
    clip = load_part(CLIPTokenizer, target / FLUX / "tokenizer")
    assert clip.model_max_length == 77
    assert clip("gym").input_ids == tokenizers.clip()("gym").input_ids
    t5 = load_part(T5Tokenizer, target / FLUX / "tokenizer_2")
    assert t5.model_max_length == 512
    assert t5("gym").input_ids == tokenizers.t5()("gym").input_ids
    qwen = load_part(Qwen2Tokenizer, target / QWEN / "tokenizer")
    assert qwen("<|image_pad|>").input_ids == [151_655]
    assert (qwen.eos_token, qwen.pad_token) == ("<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize("model", [FLUX, QWEN])
def test_the_written_configurations_have_the_published_values(model: str, adopted: tuple[Path, str]) -> None:
    for path in sorted((published.DATA / model).rglob("*.json")):
        name = path.relative_to(published.DATA / model)
        if name.name in ("added_tokens.json", "special_tokens_map.json"):
            continue
        written = json.loads((adopted[0] / model / name).read_text())
        wanted = json.loads(path.read_text())
        unread = {"_diffusers_version", "_name_or_path", "architectures", "torch_dtype", "transformers_version"}
        assert written == {key: value for key, value in wanted.items() if key not in unread}, name


def test_adopting_again_changes_nothing(adopted: tuple[Path, str], comfyui: Path) -> None:
    target, _ = adopted

    def state() -> dict[str, tuple[int, int]]:
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in sorted(target.rglob("*"))}

    before = state()
    code, output = run(comfyui, "--models", target)
    assert code == 0, output
    assert state() == before


def test_a_dry_run_says_the_same_and_does_nothing(adopted: tuple[Path, str], comfyui: Path, tmp_path: Path) -> None:
    code, output = run(comfyui, "--models", tmp_path / "models", "--dry-run")
    assert code == 0, output
    assert f"{FLUX}: complete, nothing done" in output
    assert not (tmp_path / "models").exists()


def test_the_guides_own_folder_is_told_what_else_it_needs(tmp_path: Path) -> None:
    """A lone GGUF file beside BEN2."""
    (tmp_path / "BEN2").mkdir()
    (tmp_path / "BEN2" / "BEN2_Base.pth").write_bytes(b"PK")
    flux_gguf(tmp_path / "FLUX.1-Fill-dev-Q8_0.gguf")
    code, output = run(tmp_path, "--models", tmp_path)
    assert code == 1
    assert f"{BEN2}: complete" in output
    assert f"{FLUX}: incomplete" in output
    for missing in (
        "text_encoder: clip_l.safetensors",
        "text_encoder_2: t5xxl_fp16.safetensors or t5xxl_fp8_e4m3fn.safetensors",
        "vae: ae.safetensors",
        "tokenizer: vocab.json (ComfyUI has it as comfy/sd1_tokenizer/vocab.json, beside its models folder)",
        "tokenizer_2: tokenizer.json",
    ):
        assert f"missing: {missing}" in output
    assert "missing: transformer" not in output
    assert f"HF_TOKEN=… imgedit models pull flux-fill --models {tmp_path}" in output


def test_doctor_says_what_a_lone_gguf_file_is(tmp_path: Path) -> None:
    flux_gguf(tmp_path / "FLUX.1-Fill-dev-Q8_0.gguf")
    found = {finding.name: finding for finding in weights(tmp_path)}
    flux, qwen = found["weights of flux-fill"], found["weights of qwen-image-edit"]
    assert flux.state == "WARN"
    assert "FLUX.1-Fill-dev-Q8_0.gguf is its transformer alone" in flux.found
    assert "imgedit models adopt" in flux.advice
    assert qwen.state == "NOTE"


def test_doctor_finds_adopted_folders_complete(adopted: tuple[Path, str]) -> None:
    found = {finding.name: finding for finding in weights(adopted[0])}
    for model in ("ben2", "flux-fill", "qwen-image-edit"):
        assert found[f"weights of {model}"].state == "OK", found[f"weights of {model}"]


def test_the_report_as_json(comfyui: Path, tmp_path: Path) -> None:
    code, output = run(comfyui, "--models", tmp_path / "models", "--dry-run", "--json")
    report = json.loads(output)
    assert (code, report["complete"]) == (0, True)
    assert [model["folder"] for model in report["models"]] == [BEN2, FLUX, QWEN]
    assert {tuple(entry) for entry in report["not_understood"]} >= {
        ("vae/odd.safetensors", "its tensors are those of no model that is known here")
    }


def test_a_copy_needs_no_link(tmp_path: Path) -> None:
    source = tmp_path / "models"
    (source / "BEN2").mkdir(parents=True)
    (source / "BEN2" / "BEN2_Base.pth").write_bytes(b"PK")
    code, output = run(source, "--models", tmp_path / "ours", "--copy")
    assert code == 0, output
    placed = tmp_path / "ours" / "BEN2" / "BEN2_Base.pth"
    assert not placed.is_symlink()
    assert placed.read_bytes() == b"PK"


def test_2511_is_told_by_its_marker_and_gets_its_configuration(tmp_path: Path) -> None:
    source = tmp_path / "models"
    (source / "unet").mkdir(parents=True)
    marked = own("Qwen transformer", "F8_E4M3") | {"__index_timestep_zero__": ((0,), "F32")}
    write_safetensors(source / "unet" / "edit.safetensors", marked)
    _, output = run(source, "--models", tmp_path / "ours")
    assert f"{QWEN_2511}: incomplete" in output
    assert f"{QWEN}:" not in output
    folder = tmp_path / "ours" / QWEN_2511 / "transformer"
    assert check_checkpoint(
        QwenImageTransformer2DModel, folder, torch.bfloat16, layout=qwen_names.LAYOUT
    ).network.zero_cond_t


REFUSED: dict[str, Any] = {
    "no such folder": lambda root: (root / "none", root / "ours", (), "no such folder; ComfyUI's `models` folder"),
    "ComfyUI itself": lambda root: (root, root / "ours", (), "this is ComfyUI itself; name its models folder"),
    "a target inside": lambda root: (
        root / "models",
        root / "models" / "unet" / "x",
        (),
        "must not be inside a folder that is looked into",
    ),
    "a target that is a file": lambda root: (root / "models", root / "file", (), "a folder is expected for --models"),
    "a target that is a link": lambda root: (root / "models", root / "link", (), "nothing is written through a link"),
    "a file to take that is none": lambda root: (
        root / "models",
        root / "ours",
        ("--take", root / "none.gguf"),
        "there is no such file",
    ),
    "a file to take of elsewhere": lambda root: (
        root / "models",
        root / "ours",
        ("--take", root / "file"),
        "not among the weights files of",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_by_name(case: str, tmp_path: Path) -> None:
    (tmp_path / "models" / "unet").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    source, target, options, message = REFUSED[case](tmp_path)
    code, output = run(source, "--models", target, *options)
    assert code == 1
    assert message in output
    assert "Traceback" not in output


def test_a_folder_with_nothing_of_ours_says_so(tmp_path: Path) -> None:
    (tmp_path / "models" / "unet").mkdir(parents=True)
    code, output = run(tmp_path / "models", "--models", tmp_path / "ours")
    assert code == 1
    assert "no file of a model that imgedit runs was found" in output


def test_nothing_is_written_through_a_link(comfyui: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "ours" / FLUX).symlink_to(tmp_path / "elsewhere")
    code, output = run(comfyui, "--models", tmp_path / "ours")
    assert code == 1
    assert "is a symbolic link, and nothing is written through links" in output
    assert not list((tmp_path / "elsewhere").iterdir())


def test_no_configuration_is_written_through_a_link_that_leads_nowhere_yet(comfyui: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ours" / FLUX
    folder.mkdir(parents=True)
    (folder / "model_index.json").symlink_to(tmp_path / "not-there-yet")
    run(comfyui, "--models", tmp_path / "ours")
    assert (folder / "transformer" / "config.json").is_file()
    assert not (tmp_path / "not-there-yet").exists()


def test_weights_that_are_there_stay(comfyui: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ours" / FLUX
    shutil.copytree(tiny(FLUX) / "vae", folder / "vae")
    code, output = run(comfyui, "--models", tmp_path / "ours")
    assert code == 0, output
    assert not (folder / "vae" / "ae.safetensors").exists()
    assert (
        "left out: vae/ae.safetensors: FLUX.1-Fill-dev/vae holds diffusion_pytorch_model.safetensors already" in output
    )


def test_a_demo_checkpoint_is_no_published_model() -> None:
    identity, fault = identified(tiny(FLUX) / "transformer" / "diffusion_pytorch_model.safetensors")
    assert identity is None
    assert not fault


def test_every_recipe_is_of_a_model_that_can_be_pulled() -> None:
    from imgedit.weights.model_registry import CATALOGUE

    assert all(CATALOGUE[recipe.key].folder == folder for folder, recipe in adopt.RECIPES.items())
