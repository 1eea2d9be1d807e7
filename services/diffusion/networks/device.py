"""Devices and number formats by name, and detection of exhausted memory."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from imgedit.errors import ModelLoadError, SettingsError
from imgedit.local.host_memory import host_memory

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}

EXHAUSTED = (
    *("out of memory", "can't allocate memory", "not enough memory", "alloc_failed"),
    *("cublas_status_not_initialized", "cudnn_status_internal_error", "unable to find an engine"),
)
"""Messages of plain RuntimeErrors that torch raises instead of OutOfMemoryError: the CPU, cuBLAS, cuDNN.

The last three are raised where there is no room for a workspace.
"""


def device_named(name: str) -> torch.device:
    """The device of a setting: `auto` (CUDA or else the CPU), `cpu`, `cuda`, `cuda:N`.

    `cuda:N` also becomes the device of kernels that name none. Raises `SettingsError` for a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"device {name!r} was requested and CUDA is not available")
    if device.index is not None:
        count = torch.cuda.device_count()
        if device.index >= count:
            there = "cuda:0 alone is" if count == 1 else f"cuda:0 to cuda:{count - 1} are"
            raise SettingsError(f"device {name!r} was requested and {there} available")
        torch.cuda.set_device(device)
    return device


def dtype_named(name: str, device: torch.device) -> torch.dtype:
    """The number format of a setting.

    `auto` (bfloat16 on CUDA, float32 on the CPU) or a name of DTYPES.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise SettingsError(f"dtype must be auto, {', '.join(DTYPES)}; not {name!r}")
    return DTYPES[name]


def vae_dtype(number: torch.dtype, device: torch.device) -> torch.dtype:
    """The VAE's number format beside networks in `number`.

    Never float16, in which it overflows to black images.
    """
    if number != torch.float16:
        return number
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bfloat16 else torch.float32


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception means that device or host memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in EXHAUSTED)


def works(device: torch.device) -> bool:
    """Whether a number can be written to the device and read back.

    After an illegal access CUDA fails every later call of the process.
    """
    try:
        return torch.ones(1, device=device).item() == 1
    except RuntimeError as error:
        return is_out_of_memory(error)


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Turn exhausted memory during loading into a `ModelLoadError` with the advice."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        cause = " ".join(str(error).split())[:300]
        raise ModelLoadError(f"memory ran out while the model was loaded and warmed up ({cause}); {advice}") from error


def free_memory(device: torch.device) -> None:
    """Return cached, unused blocks to the device.

    Also those of an exception's frames in reference cycles.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak_memory(device: torch.device) -> int:
    """Peak bytes allocated on the device; 0 on the CPU, which torch does not count."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def finish(device: torch.device) -> None:
    """Wait until the device has finished its queue, so that a step really ends."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_bytes(device: torch.device) -> int:
    """Free memory of the device.

    On the CPU, of the machine or of the control group, whichever is less.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    memory = host_memory()
    if memory is None:
        raise SettingsError("free memory cannot be read here; choose weights=dense or weights=stored")
    return memory.available
