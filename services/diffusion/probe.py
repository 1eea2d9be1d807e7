"""`python -m services.diffusion.probe`: torch's view of this machine, as JSON.

For `imgedit doctor`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch


def main() -> int:
    """Print the object."""
    print(json.dumps(found()))
    return 0


def found() -> dict[str, Any]:
    """The build of torch, its devices, and the CPU's matrix formats.

    cuda_build: the CUDA version that torch was built for, None = a CPU build. Memory is in bytes.
    """
    capabilities = torch.cpu.get_capabilities()
    return {
        "torch": str(torch.__version__),
        "cuda_build": torch.version.cuda,
        "devices": [_device(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else [],
        "cpu_threads": torch.get_num_threads(),
        "cpu_bf16": bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")),
    }


def _device(index: int) -> dict[str, Any]:
    free, total = torch.cuda.mem_get_info(index)
    major, minor = torch.cuda.get_device_capability(index)
    return {
        "name": torch.cuda.get_device_name(index),
        "memory": total,
        "free": free,
        "capability": f"{major}.{minor}",
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
    }


if __name__ == "__main__":
    sys.exit(main())
