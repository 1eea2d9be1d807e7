"""GGUF files: hostile ones are rejected, good ones equal diffusers' GGUF layers."""

import hashlib
import struct
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from safetensors.torch import load_file

from imgedit.errors import ModelLoadError
from imgedit.weights.gguf_header import read_header
from services.diffusion.networks import device as devices
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.diffusion.weights import gguf_weights
from services.fill import gguf_names
from services.fill.model import FillAdapter, load
from tests.support.engine import checkpoint, fill_spec

CPU = torch.device("cpu")
ONE_OF_EACH = {"num_layers": 1, "num_single_layers": 1}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny transformer as a Q8_0 GGUF file with the original FLUX names."""
    path = tmp_path_factory.mktemp("gguf") / "flux.gguf"
    write_gguf(path, original_tensors())
    return path


def config() -> Path:
    return checkpoint("FLUX.1-Fill-dev") / "transformer"


def original_tensors() -> dict[str, np.ndarray]:
    """The tiny transformer's weights under their original names."""
    tensors = load_file(config() / "diffusion_pytorch_model.safetensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    joined = {
        name: torch.cat([tensors[part] for part in parts]).numpy()
        for name, parts in gguf_names.name_table(ONE_OF_EACH, shapes).items()
    }
    for name in joined:
        if name.startswith(gguf_names.HALVES_SWAPPED):
            joined[name] = np.roll(joined[name], len(joined[name]) // 2, axis=0)
    return joined


def write_gguf(path: Path, tensors: dict[str, np.ndarray], *, also_in_blocks: tuple[str, ...] = ()) -> None:
    """Matrices as Q8_0, the rest as F32, as published FLUX files are."""
    writer = gguf.GGUFWriter(path, "flux")
    for name, tensor in tensors.items():
        if tensor.ndim == 2 or name in also_in_blocks:
            packed = gguf.quantize(tensor, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def transformer(path: Path, weights: gguf_weights.Weights) -> FluxTransformer2DModel:
    return gguf_weights.load_transformer(
        gguf_names.LAYOUT, path, config(), device=CPU, dtype=torch.float32, weights=weights
    )


def forward(model: FluxTransformer2DModel) -> torch.Tensor:
    noise = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        output: torch.Tensor = model(
            hidden_states=torch.randn(1, 24, 384, generator=noise),
            encoder_hidden_states=torch.randn(1, 8, 32, generator=noise),
            pooled_projections=torch.randn(1, 32, generator=noise),
            timestep=torch.tensor([0.5]),
            guidance=torch.tensor([3.5]),
            img_ids=torch.zeros(24, 3),
            txt_ids=torch.zeros(8, 3),
            return_dict=False,
        )[0]
    return output


def test_every_parameter_comes_from_exactly_one_tensor() -> None:
    shapes = dict.fromkeys(load_file(config() / "diffusion_pytorch_model.safetensors"), (1,))
    parts = [part for names in gguf_names.name_table(ONE_OF_EACH, shapes).values() for part in names]
    assert sorted(parts) == sorted(shapes)


def test_dense_weights_are_the_original_ones_within_quantisation(file: Path) -> None:
    original = load_file(config() / "diffusion_pytorch_model.safetensors")
    dense = transformer(file, "dense").state_dict()
    assert dense.keys() == original.keys()
    for name, tensor in original.items():
        assert torch.allclose(dense[name], tensor, atol=float(tensor.abs().max()) / 100 + 1e-7), name


def test_dense_and_stored_weights_give_the_same_bits(file: Path) -> None:
    assert torch.equal(forward(transformer(file, "dense")), forward(transformer(file, "gguf")))


def test_stored_weights_stay_small(file: Path) -> None:
    stored = sum(parameter.nbytes for parameter in transformer(file, "gguf").parameters())
    dense = sum(parameter.nbytes for parameter in transformer(file, "dense").parameters())
    assert stored < 0.35 * dense


def test_a_fill_runs_on_gguf_weights(file: Path) -> None:
    adapter = load(checkpoint("FLUX.1-Fill-dev"), gguf=file, device="cpu")
    state = adapter.prepare(fill_spec(steps=1))
    adapter.denoise([state])
    assert adapter.decode(state).shape == (64, 96, 3)
    assert adapter.revision != load(checkpoint("FLUX.1-Fill-dev"), device="cpu").revision


@pytest.mark.parametrize("weights", ["gguf", "dense"])
@pytest.mark.parametrize("offload", ["model", "group", "sequential"])
def test_a_gguf_file_goes_with_every_offload(offload: Any, weights: Any, file: Path) -> None:
    plain = load(checkpoint("FLUX.1-Fill-dev"), gguf=file, weights=weights, device="cpu")
    runtime = RuntimeOptions(offload=offload)
    held = load(checkpoint("FLUX.1-Fill-dev"), gguf=file, weights=weights, device="cpu", runtime=runtime)
    assert np.array_equal(painted(held), painted(plain))


def painted(adapter: FillAdapter) -> np.ndarray:
    state = adapter.prepare(fill_spec(steps=1))
    adapter.denoise([state])
    return adapter.decode(state)


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q6_K", "Q8_0", "Q4_0", "BF16", "F16", "F32"])
def test_blocks_are_dequantised_as_the_gguf_package_does(kind: str) -> None:
    number = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[number]
    noise = np.random.default_rng(5)
    rows = noise.integers(0, 256, (6, 512 // block * size), dtype=np.uint8)
    if block > 1:
        halves = {"Q4_K": (0, 4), "Q5_K": (0, 4), "Q6_K": (208, 210), "Q8_0": (0, 2), "Q4_0": (0, 2)}[kind]
        scales = noise.uniform(1e-3, 1e-2, (rows.size // size, (halves[1] - halves[0]) // 2)).astype(np.float16)
        rows.reshape(-1, size)[:, slice(*halves)] = scales.view(np.uint8)
    else:
        plain = noise.normal(size=(6, 512)).astype(np.float32)
        stored = {"F32": plain, "F16": plain.astype(np.float16)}
        rows = (stored[kind] if kind in stored else gguf.quantize(plain, number)).view(np.uint8)
    ours = gguf_weights.dequantised(torch.from_numpy(rows), int(number), (6, 512), torch.float32)
    expected = gguf.dequantize(
        rows if block > 1 or kind == "BF16" else rows.view({"F32": "f4", "F16": "f2"}[kind]), number
    )
    assert np.allclose(ours.numpy(), expected.reshape(6, 512), rtol=2e-3, atol=2e-3)


def test_auto_takes_dense_weights_where_there_is_room_for_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "services.diffusion.weights.gguf_weights")
    shapes = {"a": (1024, 1024)}
    for room, expected in ((2 * 1024**2, "dense"), (2 * 1024**2 - 1, "stored"), (-1, "stored")):
        assert gguf_weights.choose_weights("auto", shapes, torch.bfloat16, room) == expected
        assert f"weights=auto: {expected}" in caplog.text


@pytest.mark.parametrize("offload", ["none", "model", "group", "sequential"])
@pytest.mark.parametrize("free", [0, 2**50])
def test_auto_decides_by_free_memory(
    offload: Any, free: int, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "services.diffusion.weights.gguf_weights")
    monkeypatch.setattr(devices, "free_bytes", lambda _: free)
    load(checkpoint("FLUX.1-Fill-dev"), gguf=file, device="cpu", runtime=RuntimeOptions(offload=offload))
    assert f"weights=auto: {'dense' if free else 'stored'}" in caplog.text


def test_a_wrong_checksum_is_refused_and_the_right_one_accepted(file: Path) -> None:
    right = hashlib.sha256(file.read_bytes()).hexdigest()
    load(checkpoint("FLUX.1-Fill-dev"), gguf=file, gguf_sha256=right.upper(), device="cpu")
    with pytest.raises(ModelLoadError, match="SHA-256"):
        load(checkpoint("FLUX.1-Fill-dev"), gguf=file, gguf_sha256="0" * 64, device="cpu")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"nothing\.gguf"):
        read_header(tmp_path / "nothing.gguf")


def header(*, tensors: int = 0, metadata: int = 0, version: int = 3, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, metadata) + rest


def entry(name: bytes = b"a", sides: tuple[int, ...] = (32,), kind: int = 8, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(sides)}Q", len(sides), *sides)
    return struct.pack("<Q", len(name)) + name + dimensions + struct.pack("<IQ", kind, offset)


HUGE = 2**64 - 1
HOSTILE = {
    "empty": b"",
    "another format": b"PK\x03\x04" + bytes(100),
    "magic alone": b"GGUF",
    "unknown version": header(version=99),
    "big endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "countless tensors": header(tensors=HUGE),
    "countless metadata": header(metadata=HUGE),
    "endless key": header(metadata=1, rest=struct.pack("<Q", HUGE)),
    "endless string": header(metadata=1, rest=struct.pack("<Q1sIQ", 1, b"k", 8, HUGE)),
    "endless array": header(metadata=1, rest=struct.pack("<Q1sIIQ", 1, b"k", 9, 4, HUGE)),
    "array of arrays": header(metadata=1, rest=struct.pack("<Q1sIIQ", 1, b"k", 9, 9, 1)),
    "unknown metadata": header(metadata=1, rest=struct.pack("<Q1sI", 1, b"k", 77)),
    "alignment of zero": header(metadata=1, rest=struct.pack("<Q17sII", 17, b"general.alignment", 4, 0)),
    "alignment of three": header(metadata=1, rest=struct.pack("<Q17sII", 17, b"general.alignment", 4, 3)),
    "name that is no text": header(tensors=1, rest=entry(name=b"\xff\xfe")),
    "no dimensions": header(tensors=1, rest=entry(sides=())),
    "nine dimensions": header(tensors=1, rest=entry(sides=(1,) * 9)),
    "side of zero": header(tensors=1, rest=entry(sides=(32, 0))),
    "overflowing shape": header(tensors=1, rest=entry(sides=(HUGE, HUGE))),
    "unknown type": header(tensors=1, rest=entry(kind=250)),
    "broken block": header(tensors=1, rest=entry(sides=(33,))),
    "data beyond the file": header(tensors=1, rest=entry(offset=2**40)),
    "no data": header(tensors=1, rest=entry()),
    "unaligned data": header(tensors=1, rest=entry(offset=8)) + bytes(1000),
    "overlapping data": header(tensors=2, rest=entry() + entry(name=b"b")) + bytes(1000),
    "one name twice": header(tensors=2, rest=entry() + entry(offset=64)) + bytes(1000),
    "millions of strings": header(metadata=1, rest=struct.pack("<Q1sIIQ", 1, b"k", 9, 8, 10**6) + bytes(9 * 10**6)),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_in_under_a_second(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(content)
    started = time.monotonic()
    with pytest.raises(ModelLoadError, match=r"hostile\.gguf"):
        read_header(path)
    assert time.monotonic() - started < 1.0


def test_a_file_cut_anywhere_is_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for length in (10, 30, 1000, len(whole) // 2, len(whole) - 1000):
        cut = tmp_path / "cut.gguf"
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelLoadError, match=r"cut\.gguf"):
            read_header(cut)


def test_a_random_change_of_the_header_never_does_more_than_refuse(file: Path, tmp_path: Path) -> None:
    whole, noise = file.read_bytes(), np.random.default_rng(1)
    expected = {name: entry.shape for name, entry in read_header(file).items()}
    for _ in range(300):
        damaged = bytearray(whole)
        for place in noise.integers(0, 5000, 3):
            damaged[place] = int(noise.integers(0, 256))
        path = tmp_path / "damaged.gguf"
        path.write_bytes(damaged)
        try:
            gguf_weights.check_tensors(path, read_header(path), expected, "FLUX.1-Fill")
        except ModelLoadError:
            continue


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_a_file_of_another_architecture_is_refused_by_tensor_name(change: str, tmp_path: Path) -> None:
    tensors = original_tensors()
    if change == "missing":
        del tensors["img_in.weight"]
    elif change == "surplus":
        tensors["extra.weight"] = tensors["img_in.weight"]
    else:
        tensors["img_in.weight"] = tensors["img_in.weight"][:, :64]
    path = tmp_path / "other.gguf"
    write_gguf(path, tensors)
    with pytest.raises(ModelLoadError, match=r"extra\.weight" if change == "surplus" else r"img_in\.weight"):
        transformer(path, "dense")


@pytest.mark.parametrize("weights", ["dense", "gguf"])
def test_a_bias_in_blocks_is_refused_by_name(weights: Any, tmp_path: Path) -> None:
    path = tmp_path / "blocks.gguf"
    write_gguf(path, original_tensors(), also_in_blocks=("img_in.bias", "txt_in.bias"))
    with pytest.raises(ModelLoadError) as caught:
        transformer(path, weights)
    assert caught.value.message == (
        f"{path}: not the weights of the FLUX.1-Fill transformer: "
        "2 in blocks and no matrix ('img_in.bias' is Q8_0, 'txt_in.bias' is Q8_0)"
    )


def test_a_git_lfs_pointer_in_the_place_of_a_gguf_file_is_called_that(tmp_path: Path) -> None:
    path = tmp_path / "pointer.gguf"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(ModelLoadError, match=r"pointer\.gguf: a Git LFS pointer"):
        transformer(path, "dense")
