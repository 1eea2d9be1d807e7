"""8-bit floats in ComfyUI's format: float8_e4m3fn matrices with optional scales.

A weight is the stored number times its scale. The scale is an entry of the same file, under an older or a newer name:
one number, or one for each row. Such files hold more entries for kernels that multiply in 8 bits; they are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn import functional

from imgedit.errors import ModelLoadError
from imgedit.weights.safetensors_header import Entry

FORMAT = "F8_E4M3"
MARKER = "scaled_fp8"
"""An entry without meaning for the numbers: files with scales have it."""

SCALES = (".scale_weight", ".weight_scale")
INPUT_SCALES = (".scale_input", ".input_scale")
DESCRIPTION = ".comfy_quant"
DESCRIBED_AS = "float8_e4m3fn"


def take_apart(entries: Mapping[str, Entry]) -> tuple[dict[str, Entry], dict[str, str], list[str]]:
    """Split entries into ordinary entries, scales by matrix, and matrix descriptions.

    Scales and descriptions without an 8-bit matrix stay ordinary entries.
    """
    kept = {name: entry for name, entry in entries.items() if name.rpartition(".")[2] != MARKER}
    scales, descriptions = {}, []
    for name in [name for name, entry in kept.items() if entry.dtype == FORMAT and name.endswith(".weight")]:
        layer = name.removesuffix(".weight")
        for end in SCALES:
            if layer + end in kept and name not in scales:
                scales[name] = layer + end
                del kept[layer + end]
        for end in INPUT_SCALES:
            kept.pop(layer + end, None)
        if kept.pop(layer + DESCRIPTION, None) is not None:
            descriptions.append(layer + DESCRIPTION)
    return kept, scales, descriptions


def misfits(entries: Mapping[str, Entry], scales: Mapping[str, str]) -> list[str]:
    """Describe the scales that do not fit: neither one number nor one per row."""
    return [
        f"{scale!r} is {entries[scale].dtype} {list(entries[scale].shape)}"
        for name, scale in scales.items()
        if not _fits(entries[scale], entries[name].shape)
    ]


def _fits(scale: Entry, matrix: tuple[int, ...]) -> bool:
    by_row = ((matrix[0],), (matrix[0], 1)) if len(matrix) == 2 else ()
    return scale.dtype in ("F32", "F16", "BF16") and scale.shape in ((), (1,), (1, 1), *by_row)


def check_descriptions(path: Path, names: Sequence[str]) -> None:
    """Raise `ModelLoadError` unless each entry describes plain float8_e4m3fn."""
    if not names:
        return
    with safe_open(path, "pt") as file:
        for name in names:
            try:
                described = json.loads(file.get_tensor(name).numpy().tobytes())["format"]
            except (ValueError, KeyError, TypeError, SafetensorError) as error:
                raise ModelLoadError(f"{path}: {name[:80]!r} is not a description of a matrix") from error
            if described != DESCRIBED_AS:
                raise ModelLoadError(
                    f"{path}: {name[:80]!r} names the format {str(described)[:40]!r}, not {DESCRIBED_AS!r}"
                )


def dense(tensor: torch.Tensor, scale: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    """The stored numbers times their scale, (1,) or (rows, 1) float32; None = 1."""
    if scale is None:
        return tensor.to(dtype)
    return (tensor.to(torch.float32) * scale).to(dtype)


class Fp8Linear(nn.Linear):
    """A linear layer with an 8-bit weight (out, in), made dense at every call.

    The bytes are held as integers: a network's number format is that of its floating-point parameters. scale: (1,) or
    (out, 1) float32, or None.
    """

    scale: torch.Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.register_buffer("scale", None)

    def hold(self, weight: torch.Tensor, scale: torch.Tensor | None) -> None:
        """Take the weight as it is stored."""
        self.weight = nn.Parameter(weight.view(torch.int8), requires_grad=False)
        self.register_buffer("scale", scale)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(…, in) → (…, out)."""
        return functional.linear(
            inputs, dense(self.weight.view(torch.float8_e4m3fn), self.scale, inputs.dtype), self.bias
        )
