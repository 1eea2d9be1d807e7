"""GGUF weights: dequantised once or at every step, and the cost of loading.

    python -m benchmarks.gguf [--keep FILE]

Writes a GGUF file of a FLUX transformer of the real width with one double and one single block (0.55 B parameters,
Q8_0, 0.6 GB). Then measures the header check, loading dense weights tensor by tensor with its peak memory, and one
forward of 1,536 tokens with diffusers' own GGUF layers and with ours. Both must give the same bits. bfloat16 on the
CPU. Ends with one JSON object.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel, GGUFQuantizationConfig

from imgedit.weights.gguf_header import read_header
from services.diffusion.weights import gguf_weights
from services.diffusion.weights.layout import joined_shape
from services.fill import gguf_names

DTYPE = torch.bfloat16
CONFIG = {"in_channels": 384, "out_channels": 64, "num_layers": 1, "num_single_layers": 1, "guidance_embeds": True}
TOKENS = 1024
TEXT_TOKENS = 512


def main() -> None:
    """Write the file, measure, print.

    With --peak load dense weights and print the peak memory alone.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="write the GGUF file here and keep it; reuse it when it exists")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(peak_of_loading(options.peak))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "flux.gguf"
        print(json.dumps({"benchmark": "gguf", **measure(path)}))


def measure(path: Path) -> dict[str, Any]:
    """All figures for the file at `path`, which is written first if it is not there."""
    config = write_config(path.parent)
    if not path.exists():
        print(f"writing the file: {timed(lambda: write_file(path, config)):.1f} s", flush=True)
    header = timed(lambda: read_header(path))
    peak = int(
        subprocess.run(
            [sys.executable, "-m", "benchmarks.gguf", "--peak", str(path)], check=True, capture_output=True, text=True
        ).stdout
    )
    stored = stored_by_diffusers(path, config)
    started = time.perf_counter()
    dense = load_dense(path)
    loading = time.perf_counter() - started
    equal = torch.equal(forward(stored), forward(dense))
    per_step, once = turn_about(lambda: forward(stored), lambda: forward(dense), repeats=5)
    dense_bytes = sum(parameter.nbytes for parameter in dense.parameters())
    return {
        "file_gb": round(path.stat().st_size / 1e9, 3),
        "header_check_s": round(header, 4),
        "dense_load_s": round(loading, 2),
        "dense_gb": round(dense_bytes / 1e9, 3),
        "peak_over_dense_gb": round((peak - dense_bytes) / 1e9, 3),
        "forward_gguf_s": round(per_step, 3),
        "forward_dense_s": round(once, 3),
        "speedup": round(per_step / once, 2),
        "bit_equal": equal,
    }


def write_config(folder: Path) -> Path:
    """`transformer/config.json` beside the file; the folder that holds it."""
    with init_empty_weights():
        FluxTransformer2DModel(**CONFIG).save_config(folder / "transformer")
    return folder / "transformer"


def write_file(path: Path, config: Path) -> None:
    """Random weights under the original FLUX names: matrices Q8_0, the rest F32."""
    with init_empty_weights():
        empty = FluxTransformer2DModel.from_config(FluxTransformer2DModel.load_config(config))
    shapes = {name: tuple(tensor.shape) for name, tensor in empty.state_dict().items()}
    noise = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "flux")
    for name, parts in gguf_names.name_table({"num_layers": 1, "num_single_layers": 1}, shapes).items():
        shape = joined_shape(parts, shapes)
        tensor = noise.standard_normal(shape, np.float32) / np.float32(shape[-1] ** 0.5)
        if len(shape) == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(tensor, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def load_dense(path: Path) -> FluxTransformer2DModel:
    """Ours: streamed, dequantised once."""
    return gguf_weights.load_transformer(
        gguf_names.LAYOUT, path, path.parent / "transformer", device=torch.device("cpu"), dtype=DTYPE, weights="dense"
    )


def stored_by_diffusers(path: Path, config: Path) -> Any:
    """Diffusers' loader with its GGUF layers, which dequantise in every forward."""
    model = FluxTransformer2DModel.from_single_file(
        str(path),
        quantization_config=GGUFQuantizationConfig(compute_dtype=DTYPE),
        torch_dtype=DTYPE,
        config=str(config.parent),
        subfolder="transformer",
        local_files_only=True,
    )
    return model.eval()


@torch.inference_mode()
def forward(model: Any) -> torch.Tensor:
    """One transformer pass over 1,024 image and 512 text tokens."""
    noise = torch.Generator().manual_seed(0)
    output: torch.Tensor = model(
        hidden_states=torch.randn(1, TOKENS, 384, generator=noise).to(DTYPE),
        encoder_hidden_states=torch.randn(1, TEXT_TOKENS, 4096, generator=noise).to(DTYPE),
        pooled_projections=torch.randn(1, 768, generator=noise).to(DTYPE),
        timestep=torch.tensor([0.5], dtype=DTYPE),
        guidance=torch.tensor([3.5]),
        img_ids=torch.zeros(TOKENS, 3),
        txt_ids=torch.zeros(TEXT_TOKENS, 3),
        return_dict=False,
    )[0]
    return output


def turn_about(first: Callable[[], Any], second: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median seconds of two functions, interleaved against noise of the machine."""
    pairs = [(timed(first), timed(second)) for _ in range(repeats)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def timed(work: Callable[[], Any]) -> float:
    """Seconds that the work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_of_loading(path: Path) -> int:
    """Bytes of memory that loading dense weights takes at its peak.

    For a fresh process.
    """
    before = memory("VmRSS")
    load_dense(path)
    return memory("VmHWM") - before


def memory(field: str) -> int:
    """A size of this process from /proc, in bytes.

    VmRSS = now, VmHWM = the most so far.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    main()
