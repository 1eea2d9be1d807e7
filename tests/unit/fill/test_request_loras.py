"""LoRAs that a request names.

They are offered where they fit, loaded on use, bounded in bytes, and leave no trace.
"""

import asyncio
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prometheus_client import REGISTRY
from safetensors.torch import load_file, save_file

from imgedit.errors import FailedPrecondition, InvalidArgument, ModelLoadError
from services.diffusion.networks.lora import LoraFile
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.fill.model import FillAdapter
from services.fill.model import load_fill as load_fill
from services.qwen_edit.model import load_qwen_edit as load_qwen
from tests.support.engine import SMALL, checkpoint, fill, fill_spec, finish, qwen, qwen_spec, with_engine

FLUX, QWEN = "FLUX.1-Fill-dev", "Qwen-Image-Edit-2509"
RANK = 2
LAYERS = [f"transformer_blocks.0.attn.to_{part}" for part in "qkv"]
FLUX_ONLY, QWEN_ONLY = "single_transformer_blocks.0.proj_out", "transformer_blocks.0.img_mod.1"


def write(path: Path, transformer: Any, seed: int, *others: str) -> Path:
    """A LoRA of the attention and of other layers, strong enough to be seen."""
    noise = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in (*LAYERS, *others):
        base = transformer.get_submodule(layer)
        base = getattr(base, "base_layer", base)
        tensors[f"transformer.{layer}.lora_A.weight"] = torch.randn(RANK, base.in_features, generator=noise)
        tensors[f"transformer.{layer}.lora_B.weight"] = torch.randn(base.out_features, RANK, generator=noise)
    save_file(tensors, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three LoRAs for FLUX.1-Fill, one for Qwen-Image-Edit, and files that are none."""
    made = tmp_path_factory.mktemp("loras")
    flux, qwen_transformer = fill()._pipeline.transformer, qwen()._pipeline.transformer
    for seed, name in enumerate(("ink", "oil", "수채화")):
        write(made / f"{name}.safetensors", flux, seed, FLUX_ONLY)
    write(made / "neon.safetensors", qwen_transformer, 3, QWEN_ONLY)
    (made / "broken.safetensors").write_bytes(b"no header")
    (made / "notes.txt").write_text("not a LoRA")
    (made / "sub.safetensors").mkdir()
    return made


def nbytes(folder: Path) -> int:
    return sum(tensor.nbytes for tensor in load_file(folder / "ink.safetensors").values())


@pytest.fixture(scope="module")
def adapter(folder: Path) -> FillAdapter:
    """FLUX.1-Fill with room for two of them."""
    runtime = RuntimeOptions(loras=folder, lora_bytes=2 * nbytes(folder))
    return load_fill(checkpoint(FLUX), device="cpu", runtime=runtime)


def metric(name: str) -> float:
    return REGISTRY.get_sample_value(f"imgedit_engine_{name}", {"service": "fill"}) or 0.0


def pictures(adapter: Any, *specs: Any) -> list[np.ndarray]:
    """The answers to specs that are in the engine at the same time."""

    async def together(engine: Any) -> list[np.ndarray]:
        return [done.output for done in await asyncio.gather(*(finish(engine, spec) for spec in specs))]

    outputs: list[np.ndarray] = with_engine(adapter, together, max_batch=1)
    return outputs


def chosen(adapter: Any, *names: str, scale: float = 1.0) -> Any:
    return adapter.chosen_loras(tuple((name, scale) for name in names))


def test_only_files_that_fit_are_offered_and_the_others_are_in_the_log(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        adapter = load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(loras=folder))
        assert adapter.lora_names() == ("ink", "oil", "수채화")
        assert adapter.lora_names() == ("ink", "oil", "수채화")
    refused = [message for message in caplog.messages if "not offered" in message]
    assert len(refused) == 2  # once each
    assert any("neon" in message and "FLUX" in message for message in refused)
    assert any("broken" in message for message in refused)


def test_a_lora_of_the_request_gives_what_the_same_file_gives_by_configuration(
    adapter: FillAdapter, folder: Path
) -> None:
    configured = load_fill(
        checkpoint(FLUX), device="cpu", loras={"fast": LoraFile(folder / "ink.safetensors", scale=0.5)}
    )
    expected = pictures(configured, fill_spec(lora="fast"))[0]
    found = pictures(adapter, fill_spec(loras=chosen(adapter, "ink", scale=0.5)))[0]
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, pictures(fill(), fill_spec())[0])


def test_a_request_without_loras_is_bit_equal_before_and_after_those_with(adapter: FillAdapter) -> None:
    plain = pictures(fill(), fill_spec())[0]
    pictures(adapter, fill_spec(loras=chosen(adapter, "ink", "oil")))
    assert np.array_equal(pictures(adapter, fill_spec())[0], plain)
    adapter._network.loras.unload()
    assert np.array_equal(pictures(adapter, fill_spec())[0], plain)


def test_two_loras_add_up_in_any_order_and_scale_0_is_left_out(adapter: FillAdapter) -> None:
    forward, backward = chosen(adapter, "ink", "oil"), chosen(adapter, "oil", "ink")
    assert forward == backward
    both = pictures(adapter, fill_spec(loras=forward))[0]
    assert not np.array_equal(both, pictures(adapter, fill_spec(loras=chosen(adapter, "ink")))[0])
    assert chosen(adapter, "ink", scale=0.0) == ()


def test_jobs_with_different_loras_interleave_as_if_alone_in_bounded_memory(adapter: FillAdapter, folder: Path) -> None:
    uses = [
        chosen(adapter, "ink"),
        chosen(adapter, "oil"),
        chosen(adapter, "수채화"),
        chosen(adapter, "ink", "oil"),
        (),
    ]
    specs = [fill_spec(loras=loras, seed=seed) for seed, loras in enumerate(uses)]
    alone = [pictures(adapter, spec)[0] for spec in specs]
    for together, expected in zip(pictures(adapter, *specs), alone, strict=True):
        assert np.array_equal(together, expected)
    assert 0 < metric("lora_bytes") <= 2 * nbytes(folder)


def test_the_least_recently_used_is_unloaded_and_the_others_stay(adapter: FillAdapter, folder: Path) -> None:
    adapter._network.loras.unload()
    before = metric("lora_loads_total")
    for name in ("ink", "oil", "ink", "수채화", "ink"):
        pictures(adapter, fill_spec(steps=1, loras=chosen(adapter, name)))
    assert metric("lora_loads_total") - before == 3
    assert metric("lora_bytes") == 2 * nbytes(folder)
    pictures(adapter, fill_spec(steps=1, loras=chosen(adapter, "oil")))
    assert metric("lora_loads_total") - before == 4


def test_loras_that_do_not_fit_together_are_refused(adapter: FillAdapter, folder: Path) -> None:
    with pytest.raises(InvalidArgument, match=f"together .* {2 * nbytes(folder):,}") as caught:
        chosen(adapter, "ink", "oil", "수채화")
    assert [violation.field for violation in caught.value.violations] == ["loras"]


def test_an_unknown_name_is_refused_with_the_nearest(adapter: FillAdapter) -> None:
    with pytest.raises(InvalidArgument, match=r"loras\[1\]\.name: .*'inc'; the nearest is 'ink'") as caught:
        chosen(adapter, "oil", "inc")
    assert "'ink'" in caught.value.korean
    with pytest.raises(InvalidArgument, match="no LoRAs"):
        fill().chosen_loras((("ink", 1.0),))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "ink.safetensors", "./ink", "sub", "sub/../ink"])
def test_a_name_is_never_a_path(adapter: FillAdapter, folder: Path, name: str) -> None:
    shutil.copy(folder / "ink.safetensors", folder.parent / "secret.safetensors")
    with pytest.raises(InvalidArgument, match="no LoRA of this feature"):
        chosen(adapter, name)


def test_jobs_share_a_batch_only_with_the_same_loras_and_scales(adapter: FillAdapter) -> None:
    def key(*names: str, scale: float = 1.0) -> object:
        return adapter.workload(fill_spec(loras=chosen(adapter, *names, scale=scale))).batch_key

    assert key("ink", "oil") == key("oil", "ink")
    assert len({key(), key("ink"), key("oil"), key("ink", "oil"), key("ink", scale=0.5)}) == 5


def test_a_lora_needs_no_prompt_encoded_again(adapter: FillAdapter) -> None:
    def misses() -> float:
        labels = {"service": "fill", "kind": "prompt", "result": "miss"}
        return REGISTRY.get_sample_value("imgedit_engine_cache_lookups_total", labels) or 0.0

    pictures(adapter, fill_spec(steps=1, prompt="a red door"))
    before = misses()
    pictures(adapter, fill_spec(steps=1, prompt="a red door", loras=chosen(adapter, "ink")))
    assert misses() == before


def test_files_may_come_change_and_go_while_the_service_runs(tmp_path: Path) -> None:
    flux = fill()._pipeline.transformer
    write(tmp_path / "ink.safetensors", flux, 0)
    adapter = load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(loras=tmp_path))
    first = chosen(adapter, "ink")
    one = pictures(adapter, fill_spec(loras=first))[0]
    adapter._network.loras.unload()
    write(tmp_path / "new.safetensors", flux, 1)
    (tmp_path / "new.safetensors").replace(tmp_path / "ink.safetensors")
    with pytest.raises(FailedPrecondition, match="'ink' changed"):
        pictures(adapter, fill_spec(loras=first))
    other = pictures(adapter, fill_spec(loras=chosen(adapter, "ink")))[0]
    assert not np.array_equal(one, other)
    (tmp_path / "ink.safetensors").unlink()
    assert adapter.lora_names() == ()


def test_numbers_that_are_not_finite_are_found_at_the_first_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "ink.safetensors", fill()._pipeline.transformer, 0)
    save_file({name: tensor * float("nan") for name, tensor in load_file(path).items()}, path)
    adapter = load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(loras=tmp_path))
    with pytest.raises(FailedPrecondition, match="'ink' cannot be used") as caught:
        pictures(adapter, fill_spec(loras=chosen(adapter, "ink")))
    assert str(tmp_path) not in caught.value.message
    assert any("not finite" in message for message in caplog.messages)
    assert adapter.lora_names() == ()


def test_a_part_for_text_encoders_is_left_out_with_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "ink.safetensors", fill()._pipeline.transformer, 0)
    save_file({**load_file(path), "lora_te1_text_model.layer.lora_down.weight": torch.ones(4, 4)}, path)
    adapter = load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(loras=tmp_path))
    [warning] = adapter.warnings(fill_spec(loras=chosen(adapter, "ink")))
    assert "loras: the LoRA 'ink' has a part for text encoders (1 of its entries)" in warning.english
    assert adapter.warnings(fill_spec()) == ()


def test_a_folder_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no such folder of LoRAs"):
        load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(loras=tmp_path / "none"))


@pytest.mark.parametrize("offload", ["model", "group", "sequential"])
def test_offloaded_weights_take_loras_too(folder: Path, offload: Any) -> None:
    runtime = RuntimeOptions(loras=folder, lora_bytes=nbytes(folder), offload=offload)
    moved = load_fill(checkpoint(FLUX), device="cpu", runtime=runtime)
    held = load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(loras=folder))
    for name in ("ink", "oil"):
        loras = chosen(moved, name)
        found, expected = (pictures(one, fill_spec(steps=2, loras=loras))[0] for one in (moved, held))
        assert np.abs(found.astype(int) - expected).max() <= 1
    plain = pictures(fill(), fill_spec(steps=2))[0]
    assert np.abs(pictures(moved, fill_spec(steps=2))[0].astype(int) - plain).max() <= 1


def test_qwen_image_edit_takes_them_beside_the_profiles(folder: Path) -> None:
    model = load_qwen(
        checkpoint(QWEN),
        device="cpu",
        reference_pixels=SMALL,
        condition_pixels=SMALL,
        loras={"fast": LoraFile(folder / "neon.safetensors", scale=0.5)},
        runtime=RuntimeOptions(loras=folder),
    )
    assert model.lora_names() == ("neon",)
    loras = chosen(model, "neon", scale=0.5)
    alone, with_profile, profile = pictures(
        model, qwen_spec(loras=loras), qwen_spec(lora="fast", loras=loras), qwen_spec(lora="fast")
    )
    assert np.array_equal(alone, profile)
    assert not np.array_equal(with_profile, profile)
    assert np.array_equal(pictures(model, qwen_spec())[0], pictures(qwen(), qwen_spec())[0])
