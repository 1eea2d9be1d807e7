"""The tiny checkpoints: real layout, deterministic, small, and labelled as noise."""

import json
from pathlib import Path

import pytest
import torch

from demo.tiny import tokenizers
from demo.tiny.__main__ import NAMES, main, write_checkpoint
from demo.tiny.language import LANGUAGE_MODEL, LANGUAGE_PARTS

DIFFUSERS_NAMES = [name for name in NAMES if name != "BEN2"]


def weights(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


@pytest.mark.parametrize("name", DIFFUSERS_NAMES)
def test_the_seed_decides_the_weights(name: str, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_checkpoint(tmp_path / folder / name, seed)
    assert torch.equal(torch.random.get_rng_state(), state)
    first, same, other = (weights(tmp_path / folder / name) for folder in "abc")
    assert first == same
    assert first.keys() == other.keys()
    drawn = [file for file in first if not (name.startswith("Qwen") and file.startswith("text_encoder/"))]
    assert len(drawn) >= 2
    assert all(first[file] != other[file] for file in drawn)


def test_the_language_model_is_the_trained_one_of_the_demo(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "Qwen-Image-Edit-2509", 1)
    for part in LANGUAGE_PARTS:
        for file in (LANGUAGE_MODEL / part).iterdir():
            assert (tmp_path / "Qwen-Image-Edit-2509" / part / file.name).read_bytes() == file.read_bytes()


def test_all_three_are_written_once_and_left_alone_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < 20e6
    capsys.readouterr()
    assert main(["--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("already there") == 3


def test_a_checkpoint_of_another_seed_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "FLUX.1-Fill-dev"
    assert write_checkpoint(folder, 1)
    assert not write_checkpoint(folder, 1)
    assert write_checkpoint(folder, 2)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", DIFFUSERS_NAMES)
def test_the_layout_is_that_of_diffusers(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    write_checkpoint(folder, 1)
    index = json.loads((folder / "model_index.json").read_text())
    components = [key for key in index if not key.startswith("_")]
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == sorted(components)
    assert "noise, not art" in (folder / "README.md").read_text()


def test_t5_reads_no_hangul_and_two_korean_prompts_become_the_same_ids() -> None:
    t5 = tokenizers.t5()
    first, second = t5("배경을 현대적인 체육관으로 변경").input_ids, t5("안경을 전체적인 색상으로 제거").input_ids
    assert first == second
    assert t5.unk_token_id in first
    assert t5.unk_token_id not in t5("A modern gym, 3 people!").input_ids


def test_clip_reads_any_text_as_bytes() -> None:
    text = "배경을 gym으로 😀"
    clip = tokenizers.clip()
    assert clip(text).input_ids.count(clip.eos_token_id) == 1
    assert clip(text).input_ids != clip("배경을 gym으로 🙂").input_ids
