"""The number format that trainings multiply in.

Bfloat16 where the processor does, else float32.

Without AMX or AVX512-BF16 a product of bfloat16 matrices takes 6 to 80 times as long as one of float32.
"""

from __future__ import annotations

import torch

from services.segmentation.model import auto_precision


def working_dtype() -> torch.dtype:
    """bfloat16 or float32, whichever this processor multiplies in."""
    return torch.bfloat16 if auto_precision("cpu") == "bf16" else torch.float32


def mixed_precision() -> torch.autocast:
    """A block in which layers multiply in `working_dtype()`; stored formats stay."""
    return torch.autocast("cpu", torch.bfloat16, enabled=working_dtype() is torch.bfloat16)
