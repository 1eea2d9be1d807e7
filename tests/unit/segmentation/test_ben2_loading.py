"""A weights folder is loaded as it is or refused with what is wrong with it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from demo.tiny import ben2 as tiny
from imgedit.errors import ModelLoadError
from services.segmentation.ben2 import BEN2Config, load, revision, weights_file
from services.segmentation.ben2.loading import read_config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.build(tmp_path, seed=1)
    return tmp_path


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    entries = load_file(folder / "model.safetensors")
    change(entries)
    save_file(entries, folder / "model.safetensors")


def to_pickle(folder: Path, content: object) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "BEN2_Base.pth")


def test_both_official_formats_load(folder: Path) -> None:
    first = load(folder)
    to_pickle(folder, {"model_state_dict": first.state_dict()})
    second = load(folder)
    assert first.config == tiny.CONFIG
    assert not first.training
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_a_missing_folder_is_named_with_the_files_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"no folder .*/absent; .*model\.safetensors or BEN2_Base\.pth"):
        load(tmp_path / "absent")


def test_a_folder_without_weights_is_named_with_the_files_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"holds neither model\.safetensors nor BEN2_Base\.pth"):
        load(tmp_path)


def test_the_code_in_a_clone_of_the_official_repository_is_left_alone(folder: Path) -> None:
    for name in ("BEN2.py", "inference.py"):
        (folder / name).write_text("raise AssertionError('imported')")
    assert load(folder).config == tiny.CONFIG


@pytest.mark.parametrize("name", ["model.safetensors", "BEN2_Base.pth"])
def test_a_clone_without_git_lfs_is_told_what_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 380577976\n")
    with pytest.raises(ModelLoadError, match=r"a Git LFS pointer, .* run `git lfs pull`"):
        load(tmp_path)


def test_weights_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "BEN2_Base.pth").symlink_to("/proc/self/mem")
    with pytest.raises(ModelLoadError, match=r"BEN2_Base\.pth cannot be read"):
        load(tmp_path)


def test_missing_extra_and_misshapen_entries_are_named(folder: Path) -> None:
    def change(entries: dict[str, Tensor]) -> None:
        del entries["output.0.bias"]
        entries["surplus"] = torch.zeros(1)
        entries["conv1.0.bias"] = torch.zeros(3)
        entries["conv2.0.bias"] = entries["conv2.0.bias"].half()

    rewrite(folder, change)
    with pytest.raises(ModelLoadError) as caught:
        load(folder)
    message = str(caught.value)
    assert "1 missing ('output.0.bias');" in message
    assert "1 surplus ('surplus');" in message
    assert "'conv1.0.bias' is float32[3] instead of float32[16]" in message
    assert "'conv2.0.bias' is float16[16] instead of float32[16]" in message
    assert "\n" not in message


def test_a_long_list_of_faults_is_cut(folder: Path) -> None:
    rewrite(folder, lambda entries: entries.clear())
    with pytest.raises(ModelLoadError, match=r"\d\d+ missing \((\S+, ){3}…\)$"):
        load(folder)


def test_a_file_that_is_not_what_its_name_says_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(ModelLoadError, match=r"model\.safetensors is not a safetensors file"):
        load(folder)


@pytest.mark.parametrize("content", [{"weights": {}}, [1], {"model_state_dict": {"a": 1}}])
def test_a_pickle_without_a_state_dict_is_refused(folder: Path, content: object) -> None:
    to_pickle(folder, content)
    with pytest.raises(ModelLoadError, match="has no model_state_dict of tensors"):
        load(folder)


def test_a_pickle_with_anything_but_plain_tensors_is_refused(folder: Path) -> None:
    to_pickle(folder, {"model_state_dict": Path("/")})
    with pytest.raises(ModelLoadError, match="not a checkpoint of plain tensors"):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"text"])
def test_a_damaged_pickle_is_refused(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "BEN2_Base.pth").write_bytes(content)
    with pytest.raises(ModelLoadError, match="not a checkpoint of plain tensors"):
        load(folder)


def test_the_official_config_file_means_the_official_sizes(tmp_path: Path) -> None:
    official = {"_name_or_path": "BEN2", "architectures": ["BEN2"], "version": "1", "torch_dtype": "float32"}
    (tmp_path / "config.json").write_text(json.dumps(official))
    assert read_config(tmp_path) == BEN2Config()
    (tmp_path / "config.json").unlink()
    assert read_config(tmp_path) == BEN2Config()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "config.json"),
        ("[]", "a JSON object"),
        ('{"image_size": "big"}', "image_size must be a whole number"),
        ('{"image_size": true}', "image_size must be a whole number"),
        ('{"depths": 4}', "depths must be a list of whole numbers"),
        ('{"depths": [1, 1, 1, 1.5]}', "depths must be a list of whole numbers"),
        ('{"image_size": 1000}', "image_size must be a multiple of 128"),
    ],
)
def test_a_bad_config_file_is_refused_by_name(folder: Path, text: str, fault: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelLoadError, match=fault):
        load(folder)


@pytest.mark.parametrize(
    ("sizes", "fault"),
    [
        ({"embed_dim": 0}, "embed_dim must be positive"),
        ({"depths": (1, 1, 1)}, "depths must be four positive numbers"),
        ({"num_heads": (1, 1, 1, 0)}, "num_heads must be four positive numbers"),
        ({"window_size": 1}, "window_size must be at least 2"),
        ({"decoder_dim": 6}, "decoder_dim must be a multiple of 4"),
        ({"num_heads": (3, 8, 16, 32)}, r"num_heads\[0\] = 3 does not divide the 128 channels"),
        ({"localization_pool_ratios": (3,)}, "localization_pool_ratios must be positive and divide the map side 16"),
        ({"localization_pool_ratios": ()}, "localization_pool_ratios"),
        ({"refinement_pool_ratios": (1,)}, "refinement_pool_ratios must be even and divide the map side 128"),
    ],
)
def test_sizes_that_no_network_can_have_are_named(sizes: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        BEN2Config(**sizes)  # type: ignore[arg-type]


def test_the_revision_names_the_weights(folder: Path) -> None:
    first = revision(weights_file(folder))
    assert len(first) == 12
    assert revision(weights_file(folder)) == first
    tiny.build(folder, seed=2)
    assert revision(weights_file(folder)) != first
