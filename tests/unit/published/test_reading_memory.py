"""Weights are read tensor by tensor, without a second copy of a network in memory."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5Config, T5EncoderModel

from imgedit.errors import ModelLoadError
from services.diffusion.weights import reading
from services.diffusion.weights.checkpoint import load_network
from tests.support.published import write_safetensors

pytestmark = pytest.mark.slow

MB = 1_000_000
SLACK = 50 * MB
"""One tensor in float32 and what is made of it (17 MB each), and the Python objects around them."""


M_MMAP_THRESHOLD = -3
"""Of mallopt(3)."""


@pytest.fixture(scope="module", autouse=True)
def _returned_at_once() -> None:
    """Let the allocator return large blocks at once, as in the services.

    Freed memory is then not counted.
    """
    assert ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MB) == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text encoder of 268 MB in bfloat16, all zeros: a header and a hole."""
    target = tmp_path_factory.mktemp("large")
    config = T5Config(
        vocab_size=128, d_model=1024, d_kv=64, d_ff=4096, num_layers=8, num_heads=16, feed_forward_proj="gated-gelu"
    )
    config.save_pretrained(target)
    with torch.device("meta"):
        state = T5EncoderModel(config).state_dict()
    state.pop("encoder.embed_tokens.weight")
    write_safetensors(target / "model.safetensors", {name: (tuple(t.shape), "BF16") for name, t in state.items()})
    return target


def anonymous() -> int:
    """Bytes of this process that do not belong to a file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


@pytest.mark.parametrize(
    ("dtype", "device", "held", "needed"),
    [
        (torch.bfloat16, "cpu", "dense", 0),  # stays a part of the file
        (torch.float32, "cpu", "dense", 537 * MB),
        (torch.float32, "cpu", "int8", 134 * MB),  # never the 537 MB in between
        (torch.float32, "meta", "dense", 0),  # a device whose memory is not the host's
    ],
)
def test_the_host_holds_what_stays_and_one_tensor(
    dtype: torch.dtype, device: str, held: Any, needed: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, most = anonymous(), 0
    advance = reading.Meter.advance

    def measure(meter: reading.Meter, nbytes: int) -> None:
        nonlocal most
        most = max(most, anonymous() - before)
        advance(meter, nbytes)

    monkeypatch.setattr(reading.Meter, "advance", measure)
    network = load_network(T5EncoderModel, folder, dtype, device=torch.device(device), held=held)
    assert most < needed + SLACK
    assert {tensor.device.type for tensor in network.state_dict().values()} == {device}
    total = sum(tensor.nbytes for tensor in {id(t): t for t in (*network.parameters(), *network.buffers())}.values())
    assert total > 60 * MB


def test_a_file_that_is_cut_short_after_the_check_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    path = tmp_path / "model.safetensors"
    path.write_bytes((folder / "model.safetensors").read_bytes()[:2_000_000])
    with pytest.raises(ModelLoadError, match=r"model\.safetensors"):
        load_network(T5EncoderModel, tmp_path, torch.float32)
