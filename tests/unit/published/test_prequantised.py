"""Pre-quantised folders: rejected if a library is missing, else loaded by it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from imgedit.errors import ModelLoadError
from services.diffusion.weights import prequantised
from services.fill.model import load_fill as load_fill
from services.qwen_edit.model import load_qwen_edit as load_qwen
from tests.support.engine import checkpoint

FLUX, QWEN = "FLUX.1-Fill-dev", "Qwen-Image-Edit-2509"
NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
"""As diffusers and transformers write it."""


def quantised(model: str, part: str, config: Any, target: Path) -> Path:
    folder = Path(shutil.copytree(checkpoint(model), target / model))
    path = folder / part / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": config}))
    return folder


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package that quantises."""
    find = importlib.util.find_spec
    known = set(prequantised.PACKAGES.values())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in known else find(name, *rest))


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("method", ["bitsandbytes", "torchao"])
@pytest.mark.parametrize(("model", "part"), [(FLUX, "transformer"), (FLUX, "text_encoder_2"), (QWEN, "text_encoder")])
def test_a_folder_whose_library_is_missing_is_refused_by_its_name(
    model: str, part: str, method: str, tmp_path: Path
) -> None:
    folder = quantised(model, part, {**NF4, "quant_method": method}, tmp_path)
    with pytest.raises(ModelLoadError) as caught:
        (load_fill if model == FLUX else load_qwen)(folder, device="cpu")
    assert caught.value.message == (
        f"{folder / part / 'config.json'}: quantised by {method}, and the package {method} is not installed here; "
        "install it, or take the folder that is not quantised"
    )


@pytest.mark.parametrize("config", [{"quant_method": "awq"}, {}, "nf4"])
def test_another_method_is_refused_with_those_that_can_be_read(config: Any, tmp_path: Path) -> None:
    folder = quantised(FLUX, "transformer", config, tmp_path)
    with pytest.raises(ModelLoadError, match="which cannot be read; bitsandbytes and torchao can, as can GGUF files"):
        load_fill(folder, device="cpu")


def test_a_folder_whose_library_is_there_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = quantised(FLUX, "transformer", NF4, tmp_path) / "transformer"
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())
    assert prequantised.method_of(folder) == "bitsandbytes"
    asked: list[dict[str, Any]] = []

    class Library(torch.nn.Linear):
        @classmethod
        def from_pretrained(cls, name: str, **options: Any) -> Any:
            asked.append({"name": name, **options})
            return cls(2, 2)

    network = prequantised.load_prequantised(Library, folder, torch.bfloat16)
    assert not network.training
    assert asked == [{"name": str(folder), "local_files_only": True, "use_safetensors": True, "dtype": torch.bfloat16}]


def test_a_plain_folder_is_not_quantised() -> None:
    for model in (FLUX, QWEN):
        assert prequantised.method_of(checkpoint(model) / "transformer") is None
