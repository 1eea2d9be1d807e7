"""Regional compilation on the CPU with the tiny models.

Really compiled, and the same numbers.
"""

import functools
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imgedit.errors import SettingsError
from services.diffusion.networks.runtime_options import RuntimeOptions, runtime_of
from services.diffusion.warm_sizes import read_warm_sizes
from services.fill.model import load_fill as load_fill
from services.fill.settings import FillSettings
from services.qwen_edit.model import load_qwen_edit as load_qwen
from tests.support.engine import SMALL, checkpoint, fill, fill_spec, qwen_spec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]

REGIONAL = RuntimeOptions(compile="regional")


def adapter_of(name: str, runtime: RuntimeOptions) -> Any:
    if name == "fill":
        return load_fill(checkpoint("FLUX.1-Fill-dev"), device="cpu", runtime=runtime)
    folder = checkpoint("Qwen-Image-Edit-2509")
    return load_qwen(folder, device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, runtime=runtime)


def painted(adapter: Any, spec: Any) -> torch.Tensor:
    state = adapter.prepare(spec)
    for _ in range(spec.steps - state.step):
        adapter.denoise([state])
    pixels: torch.Tensor = adapter.decode_float(state)
    return pixels


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++: apt-get install -y g++")
def test_a_compiled_transformer_gives_the_same_numbers() -> None:
    torch._dynamo.utils.counters.clear()
    adapter = load_fill(checkpoint("FLUX.1-Fill-dev"), device="cpu", runtime=REGIONAL)
    spec, longer = fill_spec(steps=2), fill_spec(steps=3)
    assert torch.allclose(painted(adapter, spec), painted(fill(), spec), atol=1e-4)
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert compiled >= 2  # FLUX has two kinds of blocks, and each is compiled once for all of its kind
    assert torch.allclose(painted(adapter, longer), painted(fill(), longer), atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that torch would compile; they run as they are."""
    graphs: list[Any] = []

    def keep(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=keep))
    return graphs


def run_cached(adapter: Any, spec: Any) -> int:
    """Forwards that the step cache has answered."""
    state = adapter.prepare(spec)
    for _ in range(spec.steps):
        adapter.denoise([state])
    skipped: int = adapter.skipped(state)
    adapter.release(state)
    return skipped


@pytest.mark.parametrize("name", ["fill", "qwen"])
def test_the_step_cache_of_another_job_needs_no_other_graph(name: str, graphs: list[Any]) -> None:
    adapter = adapter_of(name, RuntimeOptions(compile="regional", step_cache_threshold=0.9))
    spec: Any = (fill_spec if name == "fill" else qwen_spec)(steps=3, step_cache=True)
    skipped = [run_cached(adapter, spec)]
    of_the_first = len(graphs)
    assert of_the_first >= 1
    skipped += [run_cached(adapter, spec) for _ in range(9)]
    assert len(graphs) == of_the_first
    assert min(skipped) > 0


def box(rows: int, columns: int) -> Any:
    """A mask over so many tokens of a picture of 4 x 6."""
    mask = np.zeros((64, 96), np.uint8)
    mask[: 16 * rows, : 16 * columns] = 255
    return mask


@pytest.mark.parametrize("name", ["fill", "qwen"])
def test_the_region_of_another_job_needs_no_other_graph(name: str, graphs: list[Any]) -> None:
    compiled = adapter_of(name, RuntimeOptions(compile="regional", region_steps=True))
    eager = adapter_of(name, RuntimeOptions(region_steps=True))
    spec_of = fill_spec if name == "fill" else qwen_spec
    found = []
    for rows, columns in ((1, 1), (2, 3), (4, 2)):
        spec: Any = spec_of(mask=box(rows, columns), steps=12, region_steps=True)
        assert 0 < compiled.workload(spec).full_steps(0, 12) < 12
        assert torch.allclose(painted(compiled, spec), painted(eager, spec), atol=1e-4)
        found.append(len(graphs))
    assert found[0] >= 1
    assert set(found) == {found[0]}


def test_a_warm_size_runs_every_kind_of_step(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def watch(adapter: Any) -> Any:
        denoise = adapter.denoise

        def noted(states: Any) -> None:
            first = states[0]
            is_full = first.tokens is None or first.tokens.is_full
            seen.append((len(states), first.width, first.height, first.negative is not None, is_full))
            denoise(states)

        monkeypatch.setattr(adapter, "denoise", noted)
        return adapter

    watch(adapter_of("fill", RuntimeOptions())).warm_sizes([(96, 64)], jobs=2)
    kinds = [(count, 96, 64, is_guided, True) for is_guided in (False, True) for count in (1, 1, 2, 2, 2)]
    assert seen == kinds
    watch(adapter_of("fill", RuntimeOptions(region_steps=True))).warm_sizes([(96, 64)], jobs=2)
    assert set(seen[len(kinds) :]) == {(*kind[:4], is_full) for kind in kinds for is_full in (True, False)}


@pytest.mark.parametrize("name", ["fill", "qwen"])
def test_a_warmed_size_compiles_nothing_at_its_first_edits(name: str, graphs: list[Any]) -> None:
    adapter = adapter_of(name, REGIONAL)
    options: dict[str, Any] = {"steps": 2, "negative_scale": 2.0} if name == "fill" else {"steps": 2}
    adapter.warm_sizes([(96, 64)], jobs=2)
    warmed = len(graphs)
    assert warmed >= 1
    for prompt in ("a gym", "a bright modern gym with tall windows, wooden floors and plants beside the door"):
        for negative in (None, "a much longer list of everything that should not be in the picture"):
            spec: Any = (fill_spec if name == "fill" else qwen_spec)(prompt=prompt, negative_prompt=negative, **options)
            for count in (1, 2):
                adapter.denoise([adapter.prepare(spec) for _ in range(count)])
    assert len(graphs) == warmed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1024", "must be WIDTHxHEIGHT"),
        ("64x64,", "must be WIDTHxHEIGHT"),
        ("64x72", "multiples of 16 from 16"),
        ("0x64", "multiples of 16 from 16"),
        ("2048x2048", "IMGEDIT_FILL_MAX_PIXELS allows 2,097,152"),
    ],
)
def test_a_warm_size_that_no_job_can_have_is_refused_by_the_settings_name(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=f"IMGEDIT_FILL_WARM_SIZES: .*{said}"):
        read_warm_sizes(FillSettings(warm_sizes=text))


def test_warm_sizes_are_read_once_each_in_order() -> None:
    assert read_warm_sizes(FillSettings(warm_sizes="64x48, 1024x1024,64x48")) == ((64, 48), (1024, 1024))
    assert read_warm_sizes(FillSettings()) == ()


def test_what_is_compiled_goes_into_the_folder_of_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("CXX", "sh")  # a program that is there; nothing is compiled
    folder = tmp_path / "compiled"
    runtime = runtime_of(FillSettings(device="cpu", compile="regional", compile_cache=str(folder)))
    load_fill(checkpoint("FLUX.1-Fill-dev"), device="cpu", runtime=runtime)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder / "inductor")
    assert os.environ["TRITON_CACHE_DIR"] == str(folder / "triton")
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"IMGEDIT_FILL_COMPILE_CACHE=.*file: cannot be written"):
        runtime_of(FillSettings(device="cpu", compile="regional", compile_cache=str(tmp_path / "file")))


def is_compiled(module: Any) -> bool:
    return hasattr(module.forward, "_torchdynamo_orig_callable")


def test_regional_compilation_takes_the_repeated_blocks_and_nothing_else() -> None:
    folder = checkpoint("Qwen-Image-Edit-2509")
    tiny = load_qwen(folder, device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, runtime=REGIONAL)
    network = tiny._pipeline.transformer
    compiled = {name for name, module in network.named_modules() if is_compiled(module)}
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


def test_compiling_is_refused_where_weights_come_layer_by_layer() -> None:
    pair = "IMGEDIT_FILL_COMPILE=regional does not go with IMGEDIT_FILL_OFFLOAD=sequential"
    with pytest.raises(SettingsError, match=pair):
        runtime_of(FillSettings(device="cpu", compile="regional", offload="sequential"))
