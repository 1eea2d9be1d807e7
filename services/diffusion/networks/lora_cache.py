"""LoRAs that requests name, loaded on first use and bounded in bytes.

Belongs to the worker thread.
"""

import itertools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from imgedit.errors import FailedPrecondition, ModelLoadError
from services.diffusion.engine import metrics
from services.diffusion.job_options import LoraUse
from services.diffusion.networks import device as devices
from services.diffusion.weights import lora_file
from services.diffusion.weights.lora_file import Target
from services.diffusion.weights.lora_folder import LoraFolder, OfferedLora

Key = tuple[str, str]
"""A LoRA's name and the version of its file."""


class LoraCache:
    """The LoRAs of a folder in a transformer, at most `max_bytes`.

    The least recently used are unloaded, those that running jobs need last of all. device: where their matrices are
    put; None = with the layers that they change.
    turn_off: turns all adapters off.
    """

    def __init__(
        self,
        transformer: Any,
        folder: LoraFolder,
        targets: Mapping[str, Target],
        model: str,
        *,
        max_bytes: int,
        device: torch.device | None,
        service: str,
        turn_off: Callable[[], None],
    ) -> None:
        self.folder = folder
        self._transformer = transformer
        self._targets = targets
        self._model = model
        self._max_bytes = max_bytes
        self._device = device
        self._service = service
        self._turn_off = turn_off
        self._loaded: OrderedDict[Key, tuple[str, int]] = OrderedDict()  # the adapter's name and its bytes
        self._numbers = itertools.count()
        self._needed: WeakKeyDictionary[object, frozenset[Key]] = WeakKeyDictionary()

    @property
    def nbytes(self) -> int:
        """Bytes of all loaded matrices."""
        return sum(nbytes for _, nbytes in self._loaded.values())

    def adapters(self, uses: Sequence[LoraUse]) -> tuple[str, ...]:
        """The names of the adapters of these LoRAs, loaded if they are not.

        Raises `FailedPrecondition` for a file that has changed, or whose numbers are unusable.
        """
        wanted = {(use.name, use.version): use for use in uses}
        for key in wanted:
            if key in self._loaded:
                self._loaded.move_to_end(key)
        for key, use in wanted.items():
            if key not in self._loaded:
                lora = self.folder.find(use)
                self._make_room(lora.nbytes, wanted)
                self._loaded[key] = self._load(lora), lora.nbytes
                metrics.LORA_LOADS.labels(self._service).inc()
                metrics.LORA_BYTES.labels(self._service).set(self.nbytes)
        return tuple(self._loaded[key][0] for key in wanted)

    def pin(self, job: object, uses: Sequence[LoraUse]) -> None:
        """Unload these LoRAs after all others.

        Until `unpin`, or the end of the job's last reference.
        """
        self._needed[job] = frozenset((use.name, use.version) for use in uses)

    def unpin(self, job: object) -> None:
        """Pin nothing for this job any longer."""
        self._needed.pop(job, None)

    def clear(self) -> None:
        """Unload all of them; a later forward loads what it needs."""
        for key in [*self._loaded]:
            self._unload(key)

    def _make_room(self, nbytes: int, wanted: Mapping[Key, LoraUse]) -> None:
        pinned = frozenset[Key]().union(*self._needed.values())
        for key in sorted((key for key in self._loaded if key not in wanted), key=lambda key: key in pinned):
            if self.nbytes + nbytes <= self._max_bytes:
                return
            self._unload(key)

    def _load(self, lora: OfferedLora) -> str:
        self._turn_off()
        adapter = f"request_{next(self._numbers)}"
        try:
            with torch.inference_mode(False):  # PEFT marks the matrices as trainable
                weights = lora_file.read_lora(lora.path, self._targets, self._model)
                load_lora(self._transformer, adapter, lora.path, weights.matrices)
        except ModelLoadError as error:
            self.folder.withdraw(lora, error)
            raise FailedPrecondition(
                f"loras: the file of {lora.name!r} cannot be used; the service's log has the reason",
                korean=f"LoRA {lora.name!r}의 파일을 쓸 수 없습니다. 이유는 서비스의 로그에 있습니다.",
            ) from error
        finally:
            self._turn_off()  # PEFT turns on what it adds
        self._place(adapter)
        return adapter

    def _place(self, adapter: str) -> None:
        if self._device is None:
            return
        for layer in self._transformer.modules():
            if isinstance(layer, BaseTunerLayer) and adapter in layer.lora_A:
                layer.lora_A[adapter].to(self._device)
                layer.lora_B[adapter].to(self._device)

    def _unload(self, key: Key) -> None:
        self._turn_off()
        adapter, _ = self._loaded.pop(key)
        self._transformer.delete_adapters(adapter)
        metrics.LORA_BYTES.labels(self._service).set(self.nbytes)


def load_lora(transformer: Any, name: str, path: Any, matrices: dict[str, torch.Tensor]) -> None:
    """Add one LoRA's matrices to the transformer, in its number format.

    Raises `ModelLoadError` that names the file; torch's error where memory runs out.
    """
    cast = {key: matrix.to(transformer.dtype) for key, matrix in matrices.items()}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several LoRAs are meant
            transformer.load_lora_adapter(cast, prefix=None, adapter_name=name, low_cpu_mem_usage=True)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        if devices.is_out_of_memory(error):
            raise
        raise ModelLoadError(f"{path}: cannot be added to the transformer: {' '.join(str(error).split())}") from error
