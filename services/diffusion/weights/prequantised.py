"""Load folders whose weights another library has quantised.

`quantization_config` in their configuration names the method. The library of the models reads them together with the
quantising library; they are not compared with the network first.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin

from imgedit.errors import ModelLoadError

PACKAGES = {"bitsandbytes": "bitsandbytes", "torchao": "torchao"}
"""Method → the package that reads it."""


def method_of(folder: Path) -> str | None:
    """How the folder's weights are quantised; None = they are not.

    Raises `ModelLoadError` for a method that is not known, or whose package is not installed.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8")).get("quantization_config")
    except (OSError, ValueError, AttributeError):
        return None  # said by what reads the sizes in it
    if config is None:
        return None
    method = str(config.get("quant_method", "")) if isinstance(config, dict) else ""
    if method not in PACKAGES:
        raise ModelLoadError(
            f"{path}: quantised by {method[:40]!r}, which cannot be read; {' and '.join(PACKAGES)} can, "
            "as can GGUF files and float8_e4m3fn"
        )
    if importlib.util.find_spec(PACKAGES[method]) is None:
        raise ModelLoadError(
            f"{path}: quantised by {method}, and the package {PACKAGES[method]} is not installed here; install it, or "
            "take the folder that is not quantised"
        )
    return method


def load_prequantised(cls: Any, folder: Path, dtype: torch.dtype) -> Any:
    """The quantised network, ready for inference. Raises the library's errors."""
    option = "torch_dtype" if issubclass(cls, ModelMixin) else "dtype"
    network = cls.from_pretrained(str(folder), local_files_only=True, use_safetensors=True, **{option: dtype})
    return network.eval()
