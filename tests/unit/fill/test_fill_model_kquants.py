"""GGUF files of every published quantisation, checked against the gguf package.

The transformer is FLUX's with one block of each kind, as narrow as K-quants allow: their blocks have 256 elements. gguf
writes no K-quants, so the blocks are made up: random quants and small scales.
"""

import functools
import json
import shutil
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel

from demo.tiny.flux_fill import CLIP_WIDTH, T5_WIDTH
from imgedit.errors import ModelLoadError
from services.diffusion.weights.gguf_weights import Weights
from services.fill import gguf_names
from services.fill.model import FillAdapter, load
from tests.support.engine import checkpoint, fill_spec

pytestmark = pytest.mark.slow

KINDS = ("Q4_K", "Q5_K", "Q6_K", "Q8_0")
PREFIX = "model.diffusion_model."

SCALES = {"Q4_K": (0, 4, 2.6e-4), "Q5_K": (0, 4, 1.3e-4), "Q6_K": (208, 210, 6.2e-5), "Q8_0": (0, 2, 8e-4)}
"""Where a block's float16 scales lie, and about how large they are so that weights are of the usual size, 1/16."""

HALF = 2**-9
"""A few roundings of float16, in which diffusers scales K-quants; the gguf package does so in float32."""

CONFIG = {
    "in_channels": 384,
    "out_channels": 64,
    "num_layers": 1,
    "num_single_layers": 1,
    "num_attention_heads": 2,
    "attention_head_dim": 128,
    "axes_dims_rope": [16, 56, 56],
    "joint_attention_dim": T5_WIDTH,
    "pooled_projection_dim": CLIP_WIDTH,
    "guidance_embeds": True,
}


@functools.cache
def empty() -> FluxTransformer2DModel:
    return FluxTransformer2DModel(**CONFIG).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose transformer has a configuration and no weights.

    Those come from the GGUF file.
    """
    copy = tmp_path_factory.mktemp("kquants") / "FLUX.1-Fill-dev"
    shutil.copytree(checkpoint("FLUX.1-Fill-dev"), copy)
    shutil.rmtree(copy / "transformer")
    empty().save_config(copy / "transformer")
    return copy


def made_up(shape: tuple[int, int], kind: str, noise: np.random.Generator) -> np.ndarray:
    """Rows of random blocks, (rows, bytes per row) uint8."""
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    start, stop, scale = SCALES[kind]
    blocks = noise.integers(0, 256, (shape[0] * shape[1] // block, size), dtype=np.uint8)
    scales = (scale * noise.uniform(0.5, 1.5, (len(blocks), (stop - start) // 2))).astype(np.float16)
    blocks[:, start:stop] = scales.view(np.uint8)
    return blocks.reshape(shape[0], -1)


def write(path: Path, kind: str, prefix: str = "") -> dict[str, torch.Tensor]:
    """Write a whole file of this kind; return the expected parameters.

    As in published files, tensors that are not matrices are F32, and a matrix whose rows do not fill blocks is F16.
    """
    noise, number = np.random.default_rng(0), gguf.GGMLQuantizationType[kind]
    shapes = {name: tuple(tensor.shape) for name, tensor in empty().state_dict().items()}
    expected: dict[str, torch.Tensor] = {}
    writer = gguf.GGUFWriter(path, "flux")
    for name, parts in gguf_names.name_table(CONFIG, shapes).items():
        shape = (sum(shapes[part][0] for part in parts), *shapes[parts[0]][1:])
        if len(shape) == 2 and shape[1] % gguf.GGML_QUANT_SIZES[number][0] == 0:
            stored = made_up(shape, kind, noise)
            writer.add_tensor(prefix + name, stored, raw_dtype=number)
            dense = gguf.dequantize(stored, number)
        else:
            dense = (noise.standard_normal(shape) / 16).astype(np.float16 if len(shape) == 2 else np.float32)
            writer.add_tensor(prefix + name, dense)
        if name.startswith(gguf_names.HALVES_SWAPPED):
            dense = np.roll(dense, shape[0] // 2, axis=0)
        rows = np.split(dense, np.cumsum([shapes[part][0] for part in parts])[:-1])
        expected |= {part: torch.from_numpy(row.astype(np.float32)) for part, row in zip(parts, rows, strict=True)}
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return expected


def forward(network: Any) -> torch.Tensor:
    noise = torch.Generator().manual_seed(3)
    with torch.inference_mode():
        output: torch.Tensor = network(
            hidden_states=torch.randn(1, 24, 384, generator=noise),
            encoder_hidden_states=torch.randn(1, 8, T5_WIDTH, generator=noise),
            pooled_projections=torch.randn(1, CLIP_WIDTH, generator=noise),
            timestep=torch.tensor([0.5]),
            guidance=torch.tensor([3.5]),
            img_ids=torch.zeros(24, 3),
            txt_ids=torch.zeros(8, 3),
            return_dict=False,
        )[0]
    return output


def picture(adapter: FillAdapter) -> np.ndarray:
    state = adapter.prepare(fill_spec(steps=2))
    for _ in range(2):
        adapter.denoise([state])
    return adapter.decode(state)


def loaded(folder: Path, path: Path, weights: Weights) -> FillAdapter:
    return load(folder, gguf=path, weights=weights, device="cpu", dtype="float32")


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_numbers_of_its_dequantised_weights(
    kind: str, prefix: str, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"flux-{kind}.gguf"
    expected = write(path, kind, prefix)
    reference = FluxTransformer2DModel(**CONFIG).eval()
    reference.load_state_dict(expected, strict=True)
    dense = loaded(folder, path, "dense")
    for name, tensor in dense._pipeline.transformer.state_dict().items():
        assert torch.allclose(tensor, expected[name], atol=HALF * float(expected[name].abs().max()), rtol=0), name
    output = forward(reference)
    assert torch.isfinite(output).all()
    assert output.std() > 0.01
    assert torch.allclose(forward(dense._pipeline.transformer), output, atol=10 * HALF * float(output.abs().max()))
    stored = loaded(folder, path, "gguf")
    assert torch.equal(forward(stored._pipeline.transformer), forward(dense._pipeline.transformer))
    assert np.array_equal(picture(stored), picture(dense))
    assert picture(dense).std() > 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused_in_under_a_second_before_anything_is_loaded(
    kind: str, part: float, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cut.gguf"
    write(path, kind)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    monkeypatch.setattr(
        "services.diffusion.weights.checkpoint.load_part", lambda *_, **__: pytest.fail("loaded too early")
    )
    started = time.monotonic()
    with pytest.raises(ModelLoadError, match=r"cut\.gguf"):
        load(folder, gguf=path, device="cpu")
    assert time.monotonic() - started < 1.0


def test_a_prefix_before_some_of_the_names_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixed.gguf"
    write(path, "Q8_0", PREFIX)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"model.diffusion_model.img_in.bias", b"other.diffusion_model.img_in.bias"))
    with pytest.raises(ModelLoadError, match="missing"):
        load(folder, gguf=path, device="cpu")


def test_a_file_for_another_width_is_refused_by_tensor_name(folder: Path, tmp_path: Path) -> None:
    path, other = tmp_path / "narrow.gguf", tmp_path / "FLUX.1-Fill-dev"
    write(path, "Q4_K")
    shutil.copytree(folder, other)
    wide = json.loads((other / "transformer" / "config.json").read_text()) | {"num_attention_heads": 4}
    (other / "transformer" / "config.json").write_text(json.dumps(wide))
    with pytest.raises(ModelLoadError, match=r"img_in\.weight"):
        load(other, gguf=path, device="cpu")
