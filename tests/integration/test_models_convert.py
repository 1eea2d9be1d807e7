"""`imgedit models convert` changes only the form and rejects other models."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from imgedit.weights.gguf_header import TYPES, read_header
from imgedit.weights.registry import LockedFile, LockedModel, read_lock, sha256_of, verify, write_lock
from services.common.conversion import Order, run
from services.diffusion.weights import convert as converter
from services.fill import gguf_names
from services.qwen_edit import gguf_names as qwen_names
from services.segmentation.ben2 import load
from services.segmentation.convert import convert as convert_pickle
from tests.terminal import output_of

pytestmark = pytest.mark.slow

FLUX, QWEN = "FLUX.1-Fill-dev/transformer", "Qwen-Image-Edit-2509/transformer"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def service(target: object, source: object) -> Callable[..., int]:
    """Run `python -m services.<x>.convert` in this process, which imports torch once."""
    if str(source).endswith(".pth"):
        return partial(run, convert_pickle, ("auto",))
    layout = (qwen_names.LAYOUT, "qwen_image") if "Qwen" in f"{source}{target}" else (gguf_names.LAYOUT, "flux")
    return partial(run, partial(converter.convert, *layout), converter.TYPES)


def answer(source: object, target: object, *options: object) -> tuple[int, dict[str, Any]]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = service(f"{target}{options}", source)(list(map(str, (source, target, *options, "--quiet"))))
    return code, json.loads(printed.getvalue())


def convert(*arguments: object) -> dict[str, Any]:
    code, made = answer(*arguments)
    assert code == 0, made
    return made


def refusal(*arguments: object) -> str:
    code, made = answer(*arguments)
    assert code == 1
    return str(made["error"])


def imgedit(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "imgedit.cli", "models", "convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("model", [FLUX, QWEN])
def test_a_transformer_becomes_a_gguf_file_and_the_same_transformer_again(
    model: str, models: Path, tmp_path: Path
) -> None:
    folder, file, back = models / model, tmp_path / "model.gguf", tmp_path / "back"
    made = convert(folder, file, "--type", "F32")
    [written] = made["files"]
    assert (written["path"], written["size"], written["sha256"]) == (
        str(file),
        file.stat().st_size,
        sha256_of(file),
    )
    convert(file, back, "--config", folder, "--type", "F32")
    before, after = load_file(folder / WEIGHTS), load_file(back / WEIGHTS)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].float(), after[name]) for name in before)
    assert json.loads((back / "config.json").read_text()) == json.loads((folder / "config.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back", "model.gguf"], "nothing is left behind"


def test_a_gguf_file_of_the_newer_model_says_so_and_loads_back(models: Path, tmp_path: Path) -> None:
    folder, file, back = tmp_path / "newer-Qwen", tmp_path / "newer-Qwen.gguf", tmp_path / "back"
    shutil.copytree(models / QWEN, folder)
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "zero_cond_t": True}))
    convert(folder, file, "--type", "F32")
    assert read_header(file)["__index_timestep_zero__"].shape == (0,)
    convert(file, back, "--config", folder, "--type", "F32")
    before, after = load_file(folder / WEIGHTS), load_file(back / WEIGHTS)
    assert all(torch.equal(before[name].float(), after[name]) for name in before)
    assert "another version" in refusal(file, tmp_path / "other", "--config", models / QWEN)


def test_only_the_matrices_of_the_blocks_are_quantised_and_hardly_changed(models: Path, tmp_path: Path) -> None:
    folder, file, back = models / FLUX, tmp_path / "flux.gguf", tmp_path / "back"
    convert(folder, file)
    kinds = {name: TYPES[entry.type][0] for name, entry in read_header(file).items()}
    assert kinds["double_blocks.0.img_attn.qkv.weight"] == "Q8_0"
    assert kinds["img_in.weight"] == kinds["double_blocks.0.img_attn.qkv.bias"] == "F32"
    assert gguf.GGUFReader(file).fields["general.architecture"].contents() == "flux"
    convert(file, back, "--config", folder)
    before, after = load_file(folder / WEIGHTS), load_file(back / WEIGHTS)
    for name, tensor in before.items():
        assert after[name].dtype == torch.bfloat16
        assert (after[name].float() - tensor).abs().max() <= tensor.abs().max() / 100


def test_large_weights_are_written_in_shards_that_diffusers_finds(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, back = tmp_path / "flux.gguf", tmp_path / "back"
    convert(models / FLUX, file, "--type", "F32")
    monkeypatch.setattr(converter, "SHARD_BYTES", 100_000)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    order = Order(file, back, "F32", models / FLUX, None)
    converter.to_dense(gguf_names.LAYOUT, order, scratch, lambda _total: lambda _count: None)
    shards = sorted(path.name for path in scratch.glob("*.safetensors"))
    assert len(shards) > 2
    network = gguf_names.LAYOUT.network.from_pretrained(scratch, local_files_only=True)
    before = load_file(models / FLUX / WEIGHTS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_pickle_becomes_safetensors_that_the_service_loads(models: Path, tmp_path: Path) -> None:
    folder, after = tmp_path / "BEN2", tmp_path / "after"
    shutil.copytree(models / "BEN2", folder)
    torch.save({"model_state_dict": load_file(folder / "model.safetensors")}, folder / "BEN2_Base.pth")
    after.mkdir()
    shutil.copy(folder / "config.json", after)
    made = convert(folder / "BEN2_Base.pth", after / "model.safetensors")
    assert made["source"]["sha256"] == sha256_of(folder / "BEN2_Base.pth")
    first, second = load(folder).state_dict(), load(after).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


class Bomb:
    """Would write a file when a careless reader unpickles it."""

    def __reduce__(self) -> Any:
        return Path.write_text, (Path("/tmp/imgedit-bomb"), "boom")


def test_a_pickle_that_holds_code_or_unpacks_to_more_than_it_is_is_refused(models: Path, tmp_path: Path) -> None:
    shutil.copy(models / "BEN2" / "config.json", tmp_path)
    code, packed, plain = (tmp_path / f"{name}.pth" for name in ("code", "packed", "plain"))
    torch.save({"model_state_dict": {"a": Bomb()}}, code)
    assert "not a checkpoint of plain tensors" in refusal(code, tmp_path / "a.safetensors")
    assert not Path("/tmp/imgedit-bomb").exists()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 5_000_000)
    assert "compressed" in refusal(packed, tmp_path / "b.safetensors")
    plain.write_bytes(b"no archive")
    assert "not a zip archive" in refusal(plain, tmp_path / "c.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_hostile_gguf_file_is_refused_before_anything_is_written(models: Path, tmp_path: Path) -> None:
    hostile, target = tmp_path / "hostile.gguf", tmp_path / "out"
    hostile.write_bytes(b"GGUF" + np.array([3], "<u4").tobytes() + np.array([2**60, 2**60], "<u8").tobytes())
    assert "at most 10000 are accepted" in refusal(hostile, target, "--config", models / FLUX)
    whole = tmp_path / "whole.gguf"
    convert(models / FLUX, whole)
    hostile.write_bytes(whole.read_bytes()[:-1000])
    assert "cut short" in refusal(hostile, target, "--config", models / FLUX)
    assert "not the weights of the Qwen-Image-Edit transformer" in refusal(whole, target, "--config", models / QWEN)
    assert not target.exists()


def test_weights_that_are_not_the_models_are_named(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "transformer"
    shutil.copytree(models / FLUX, folder)
    tensors = load_file(folder / WEIGHTS)
    name = "transformer_blocks.0.attn.to_q.weight"

    def refused(**changed: torch.Tensor) -> str:
        save_file({**tensors, **changed}, folder / WEIGHTS)
        return refusal(folder, tmp_path / "out.gguf")

    assert name in refused(**{name: torch.zeros(3, 3)})
    assert "1 surplus" in refused(extra=torch.zeros(1))
    assert "not finite" in refused(**{name: torch.full_like(tensors[name], torch.nan)})
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-10])
    assert "cut short" in refusal(folder, tmp_path / "out.gguf")
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in refusal(folder, tmp_path / "out.gguf")


def test_nothing_is_written_over_and_a_wrong_order_is_explained(models: Path, tmp_path: Path) -> None:
    file = tmp_path / "flux.gguf"
    file.write_text("mine")
    assert "is there already" in refusal(models / FLUX, file)
    assert file.read_text() == "mine"
    assert "SHA-256" in refusal(file, tmp_path / "out", "--config", models / FLUX, "--sha256", "0" * 64)
    assert "not as Q8_0" in refusal(file, tmp_path / "out", "--config", models / FLUX, "--type", "Q8_0")


def test_what_is_converted_into_a_pulled_folder_is_in_its_record(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "FLUX.1-Fill-dev" / "transformer"
    folder.mkdir(parents=True)
    shutil.copy(models / FLUX / "config.json", folder)
    config = LockedFile((folder / "config.json").stat().st_size, sha256_of(folder / "config.json"), "computed")
    pulled = tmp_path / "q8.gguf"
    convert(models / FLUX, pulled)
    flux = LockedModel("hub", "a/b", "c", "FLUX.1-Fill-dev", "x", {"transformer/config.json": config})
    gguf_file = LockedModel(
        "hub", "a/c", "c", ".", "x", {"q8.gguf": LockedFile(pulled.stat().st_size, "0" * 64, "hub")}
    )
    write_lock(tmp_path, {"flux-fill": flux, "flux-fill-gguf": gguf_file})
    done = imgedit(pulled, folder, "--json")
    assert done.returncode == 1, "the digest of the record is what the file must have"
    assert "SHA-256" in json.loads(done.stdout)["error"]["message"]
    assert "error: " in done.stderr
    write_lock(tmp_path, {"flux-fill": flux})
    done = imgedit(pulled, folder)
    assert done.returncode == 0, done.stderr
    assert "no commercial use" in done.stdout
    assert sha256_of(folder / WEIGHTS) in done.stdout
    assert read_lock(tmp_path)["flux-fill"].files[f"transformer/{WEIGHTS}"].sha256_from == "converted"
    assert {report.state for report in verify(tmp_path)} == {"OK"}


def test_a_terminal_shows_how_far_a_conversion_is(models: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "imgedit.cli",
        "models",
        "convert",
        str(models / FLUX),
        str(tmp_path / "flux.gguf"),
    ]
    code, drawn = output_of(command, environment=dict(os.environ))
    assert code == 0, drawn
    assert "flux.gguf ━" in drawn
    assert sha256_of(tmp_path / "flux.gguf") in drawn.replace("\r\n", "")


def test_the_command_says_what_it_cannot_convert(models: Path, tmp_path: Path) -> None:
    for arguments, said in (
        ((tmp_path / "a.gguf", tmp_path / "out"), "--config"),
        ((models / "FLUX.1-Fill-dev" / "vae", tmp_path / "vae.gguf"), "AutoencoderKL"),
        ((tmp_path / "none.pth", tmp_path / "none.safetensors"), "there is no file"),
    ):
        done = imgedit(*arguments)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
