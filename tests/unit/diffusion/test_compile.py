"""Regional compilation on the CPU with the tiny models: really compiled, and the same numbers."""

import shutil
from typing import Any

import pytest
import torch

from imgedit.errors import SettingsError
from services.diffusion.networks.runtime_options import RuntimeOptions, runtime_of
from services.fill.model import load as load_fill
from services.fill.settings import FillSettings
from services.qwen_edit.model import load as load_qwen
from tests.support.engine import SMALL, checkpoint, fill, fill_spec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]

REGIONAL = RuntimeOptions(compile="regional")


def painted(adapter: Any, steps: int = 2) -> torch.Tensor:
    state = adapter.prepare(fill_spec(steps=steps))
    for _ in range(steps):
        adapter.denoise([state])
    pixels: torch.Tensor = adapter.decode_float(state)
    return pixels


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++: apt-get install -y g++")
def test_a_compiled_transformer_gives_the_same_numbers() -> None:
    torch._dynamo.utils.counters.clear()
    adapter = load_fill(checkpoint("FLUX.1-Fill-dev"), device="cpu", runtime=REGIONAL)
    assert torch.allclose(painted(adapter), painted(fill()), atol=1e-4)
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert compiled >= 2  # FLUX has two kinds of blocks, and each is compiled once for all of its kind
    assert torch.allclose(painted(adapter, steps=3), painted(fill(), steps=3), atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled


def test_regional_compilation_takes_the_repeated_blocks_and_nothing_else() -> None:
    folder = checkpoint("Qwen-Image-Edit-2509")
    tiny = load_qwen(folder, device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, runtime=REGIONAL)
    network = tiny._pipeline.transformer
    compiled = {name for name, module in network.named_modules() if module._compiled_call_impl is not None}
    assert compiled == {f"transformer_blocks.{i}" for i in range(len(network.transformer_blocks))}


def test_compiling_without_a_compiler_is_refused_by_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    assert runtime_of(FillSettings(device="cpu")).compile == "off"
    with pytest.raises(SettingsError, match=r"IMGEDIT_FILL_COMPILE=regional needs a compiler.* no g\+\+ here"):
        runtime_of(FillSettings(device="cpu", compile="regional"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SettingsError, match="no no-such-compiler here"):
        runtime_of(FillSettings(device="cpu", compile="regional"))
