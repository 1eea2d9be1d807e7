"""Loading a checkpoint folder.

Complete, local, without code, and every fault named with its path.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from imgedit.errors import ModelLoadError, SettingsError
from services.fill.model import load_fill
from services.qwen_edit.model import load_qwen_edit as load_qwen
from tests.support.engine import checkpoint, fill_spec

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint that a test may damage."""
    return Path(shutil.copytree(checkpoint("FLUX.1-Fill-dev"), tmp_path / "flux"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=str(tmp_path / "nowhere")):
        load_fill(tmp_path / "nowhere")


@pytest.mark.parametrize("part", ["vae", "text_encoder_2", "tokenizer", "scheduler", "transformer"])
def test_a_missing_part_is_named(folder: Path, part: str) -> None:
    shutil.rmtree(folder / part)
    with pytest.raises(ModelLoadError, match=str(folder / part)):
        load_fill(folder)


@pytest.mark.parametrize("file", ["transformer/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_missing_and_truncated_weights_are_named(folder: Path, file: str) -> None:
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelLoadError, match=str((folder / file).parent)):
        load_fill(folder)
    (folder / file).unlink()
    with pytest.raises(ModelLoadError, match=str((folder / file).parent)):
        load_fill(folder)


@pytest.mark.parametrize("name", ["pipeline.py", "vae/modeling.py", "text_encoder/model.pkl"])
def test_a_folder_that_brings_code_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("raise SystemExit('ran')")
    with pytest.raises(ModelLoadError, match=name):
        load_fill(folder)


def test_the_checkpoint_of_another_model_is_refused(folder: Path) -> None:
    with pytest.raises(ModelLoadError, match="FluxFillPipeline, QwenImageEditPlusPipeline is expected"):
        load_qwen(folder)


def test_a_transformer_without_mask_channels_is_refused(folder: Path) -> None:
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "in_channels": 64}))
    with pytest.raises(ModelLoadError, match=str(folder)):
        load_fill(folder)


def test_another_scheduler_is_refused(folder: Path) -> None:
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "_class_name": "DDIMScheduler"}))
    with pytest.raises(ModelLoadError, match=str(config)):
        load_fill(folder)


def test_a_device_or_dtype_that_cannot_be_had_is_a_settings_error(folder: Path) -> None:
    with pytest.raises(SettingsError, match="float8"):
        load_fill(folder, dtype="float8")
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="cuda"):
            load_fill(folder, device="cuda")


def test_the_revision_follows_the_weights(folder: Path) -> None:
    before = load_fill(folder).revision
    assert load_fill(folder).revision == before
    assert load_fill(checkpoint("FLUX.1-Fill-dev")).revision == before
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert load_fill(folder).revision != before


def test_bfloat16_loads_and_runs(folder: Path) -> None:
    adapter = load_fill(folder, device="cpu", dtype="bfloat16")
    adapter.warm_up()
    assert adapter._dtype == torch.bfloat16


def test_t5_reads_no_more_tokens_than_its_tokenizer_says(folder: Path) -> None:
    settings = folder / "tokenizer_2" / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "model_max_length": 40}))
    adapter = load_fill(folder, device="cpu")
    spec = fill_spec(prompt="a" * 50)
    assert adapter.workload(spec).tokens == 4 * 6 + 40
    assert adapter.prepare(spec).positive.tokens.shape[1] == 40
    assert any("the model read the first 40" in warning.english for warning in adapter.warnings(spec))
