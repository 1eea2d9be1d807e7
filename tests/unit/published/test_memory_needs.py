"""Predicted memory for checkpoints of the published sizes, as sparse files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from services.diffusion import memory_needs
from services.diffusion.memory_needs import Needs, needs
from services.diffusion.networks.guidance import SMALL_TOKENS
from services.diffusion.weights.original_names import shapes_of
from services.fill import gguf_names as fill_names
from services.fill.memory_needs import MODEL as FILL
from services.fill.settings import FillSettings
from services.qwen_edit import gguf_names as qwen_names
from services.qwen_edit.memory_needs import MODEL as QWEN
from services.qwen_edit.settings import QwenEditSettings
from tests.support import published

GB = 10**9
FLUX_DENSE = 23_804_782_720
"""Of the published transformer in bfloat16."""


def write(folder: Path, parts: dict[str, str]) -> None:
    """Write published networks as sparse bfloat16 safetensors, by component."""
    for component, name in parts.items():
        (folder / component).mkdir(parents=True, exist_ok=True)
        entries = {key: (shape, "BF16") for key, shape in shapes_of(published.network(name)).items()}
        entries.pop("encoder.embed_tokens.weight", None)
        published.write_safetensors(folder / component / "model.safetensors", entries)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FLUX.1-Fill with its transformer as Q4_0, Qwen-Image-Edit with its as Q8_0."""
    folder: Path = tmp_path_factory.mktemp("published")
    flux, qwen = folder / "FLUX.1-Fill-dev", folder / "Qwen-Image-Edit-2509"
    write(flux, {"vae": "FLUX VAE", "text_encoder": "CLIP-L", "text_encoder_2": "T5-XXL"})
    write(qwen, {"vae": "Qwen VAE", "text_encoder": "Qwen2.5-VL-7B"})
    for path, layout, name, kind in (
        (flux, fill_names.LAYOUT, "FLUX transformer", "Q4_0"),
        (qwen, qwen_names.LAYOUT, "Qwen transformer", "Q8_0"),
    ):
        (path / "transformer").mkdir()
        kinds = published.gguf_kinds(layout, published.network(name), {"": kind}, "BF16")
        published.write_gguf(path / "transformer" / "weights.gguf", kinds, "flux")
    return folder


def of_fill(models: Path, device: memory_needs.Device = "cpu", free: int = 0, **settings: Any) -> Needs:
    return needs(FILL, FillSettings(models=models, **settings), device=device, free=free)


def of_qwen(models: Path, device: memory_needs.Device = "cpu", free: int = 0, **settings: Any) -> Needs:
    return needs(QWEN, QwenEditSettings(models=models, **settings), device=device, free=free)


def test_networks_hold_the_published_bytes(models: Path) -> None:
    dense = of_fill(models, weights="dense", dtype="bfloat16").networks
    assert dense["transformer"] == FLUX_DENSE
    assert dense["text_encoder_2"] == 2 * 4_762_310_656
    assert dense["vae"] == 2 * 83_819_683
    assert of_fill(models, weights="dense", dtype="float32").networks["transformer"] == 2 * FLUX_DENSE


def test_stored_and_int8_weights_are_as_small_as_they_are(models: Path) -> None:
    found = of_fill(models, weights="stored", dtype="bfloat16", text_encoder_weights="int8").networks
    assert found["transformer"] == pytest.approx(6.8 * GB, rel=0.01)
    assert 4_762_310_656 < found["text_encoder_2"] < 1.05 * 4_762_310_656
    assert of_qwen(models, weights="stored").networks["transformer"] == pytest.approx(21.8 * GB, rel=0.01)


def test_weights_that_keep_their_number_format_stay_in_their_files(models: Path) -> None:
    found = of_fill(models, weights="stored", dtype="bfloat16")
    mapped = found.edit.resident - found.edit.anonymous - memory_needs.LIBRARIES
    assert mapped == 2 * (4_762_310_656 + 123_060_480 + 83_819_683)
    assert of_fill(models, weights="stored", dtype="float32").edit.anonymous > found.edit.anonymous + mapped


@pytest.mark.parametrize(("free", "expected"), [(20 * GB, "stored"), (60 * GB, "dense")])
def test_auto_holds_dense_weights_where_there_is_room(models: Path, free: int, expected: str) -> None:
    assert of_fill(models, free=free, dtype="bfloat16", max_batch=1).weights == expected


def test_more_work_takes_more(models: Path) -> None:
    small = of_fill(models, weights="stored", max_pixels=512 * 512, max_batch=1)
    large = of_fill(models, weights="stored", max_pixels=1024 * 1024, max_batch=4)
    assert large.edit.anonymous > small.edit.anonymous + GB
    assert large.networks == small.networks


def test_both_passes_of_a_guided_step_count_where_they_are_one_forward(models: Path) -> None:
    assert memory_needs.JOINED_TOKENS == SMALL_TOKENS
    apart, auto, joined = (
        of_fill(models, weights="stored", max_pixels=1024 * 1024, max_batch=16, cfg_batch=choice).edit.anonymous
        for choice in ("off", "auto", "on")
    )
    assert apart == auto < joined  # 4,096 tokens and the prompt's are too many to be joined
    small = of_fill(models, weights="stored", max_pixels=256 * 256, max_batch=16, cfg_batch="auto")
    assert small == of_fill(models, weights="stored", max_pixels=256 * 256, max_batch=16, cfg_batch="on")


def test_offload_takes_less_of_the_gpu(models: Path) -> None:
    taken = [
        of_qwen(models, "cuda", weights="stored", offload=offload).on_device
        for offload in ("none", "model", "group", "sequential")
    ]
    assert taken == sorted(taken, reverse=True)
    assert len(set(taken)) == len(taken)
    apart = of_qwen(models, "cuda", weights="stored", text_encoder_offload="model").on_device
    assert taken[1] < apart < taken[0]


def test_a_folder_without_weights_is_named(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models / "FLUX.1-Fill-dev" / "vae", tmp_path / "FLUX.1-Fill-dev" / "vae")
    monkeypatch.setenv("IMGEDIT_FILL_MODELS", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["memory_needs", "--device", "cpu", "--free", "0"])
    assert memory_needs.main(FILL, FillSettings) == 1
    assert f"{tmp_path / 'FLUX.1-Fill-dev' / 'text_encoder'}: holds no safetensors file" in capsys.readouterr().err
