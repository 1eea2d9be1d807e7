"""The folder of LoRA files that requests may name.

A request's name is looked up in the listing, never joined to a path. The folder is read again for each listing and each
job, so files may come and go while the service runs.
"""

from __future__ import annotations

import logging
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imgedit.errors import FailedPrecondition, InvalidArgument, ModelLoadError
from imgedit.remarks import Remarks
from services.common.checks import Scales, check_known
from services.diffusion.job_options import LoraUse
from services.diffusion.weights.lora_file import Target, check_lora, without_text_encoders

log = logging.getLogger(__name__)

ENDING = ".safetensors"
MAX_NAME = 100


@dataclass(frozen=True)
class OfferedLora:
    """A file that fits.

    version: changes with the file. nbytes: of its matrices in the transformer. left_out: its entries for text encoders.
    """

    name: str
    path: Path
    version: str
    nbytes: int
    left_out: tuple[str, ...]


class LoraFolder:
    """The LoRA files of one folder that fit one transformer.

    Thread-safe. itemsize: bytes of a number of the transformer. max_bytes: the most that the LoRAs of a job may take.
    Raises `ModelLoadError` if the folder does not exist.
    """

    def __init__(self, folder: Path, targets: Mapping[str, Target], model: str, itemsize: int, max_bytes: int) -> None:
        if not folder.is_dir():
            raise ModelLoadError(f"{folder}: no such folder of LoRAs")
        self._folder = folder
        self._targets = targets
        self._model = model
        self._itemsize = itemsize
        self._max_bytes = max_bytes
        self._judged: dict[tuple[Path, str], OfferedLora | None] = {}
        self._lock = threading.Lock()

    def names(self) -> tuple[str, ...]:
        """The names of the files that fit now, sorted."""
        return tuple(sorted(self._refreshed()))

    def chosen(self, asked: Scales) -> tuple[LoraUse, ...]:
        """The LoRAs of a job, by the names and strengths of its request.

        In one order, whatever the request's, and without those of strength 0. Raises `InvalidArgument` for an unknown
        name, and for LoRAs that do not fit into the memory for them.
        """
        offered = self._refreshed()
        check_known([name for name, _ in asked], offered)
        active = sorted((name, scale) for name, scale in asked if scale)
        together = sum(offered[name].nbytes for name, _ in active)
        if together > self._max_bytes:
            raise InvalidArgument.field(
                "loras",
                f"together they take {together:,} bytes, and this server holds {self._max_bytes:,}; name fewer",
                korean="함께 쓰기에는 LoRA가 너무 큽니다. 개수를 줄이세요.",
            )
        return tuple(LoraUse(name, offered[name].version, scale) for name, scale in active)

    def find(self, use: LoraUse) -> OfferedLora:
        """The file of a job's LoRA.

        Raises `FailedPrecondition` if it has changed since the job came.
        """
        found = self._refreshed().get(use.name)
        if found is None or found.version != use.version:
            raise FailedPrecondition(
                f"loras: the file of {use.name!r} changed while the edit waited or ran; send the request again",
                korean=f"편집 도중에 LoRA {use.name!r}의 파일이 바뀌었습니다. 다시 요청하세요.",
            )
        return found

    def warnings(self, uses: Sequence[LoraUse]) -> Remarks:
        """Warnings for the caller of a job with these LoRAs."""
        if not uses:
            return ()
        offered = self._refreshed()
        found = [offered.get(use.name) for use in uses]
        return tuple(
            without_text_encoders("loras", repr(lora.name), lora.left_out) for lora in found if lora and lora.left_out
        )

    def withdraw(self, lora: OfferedLora, error: ModelLoadError) -> None:
        """Offer this version of a file no longer: its numbers were found to be unusable."""
        log.warning("%s; it is not offered", error.message)
        with self._lock:
            self._judged[lora.path, lora.version] = None

    def _refreshed(self) -> Mapping[str, OfferedLora]:
        with self._lock:
            found = self._files()
            for path, version in found:
                if (path, version) not in self._judged:
                    self._judged[path, version] = self._judge(path, version)
            self._judged = {key: self._judged[key] for key in found}
            offered: dict[str, OfferedLora] = {}
            for lora in filter(None, self._judged.values()):
                offered.setdefault(lora.name, lora)
            return offered

    def _files(self) -> list[tuple[Path, str]]:
        try:
            paths = sorted(path for path in self._folder.iterdir() if path.suffix == ENDING)
        except OSError as error:
            log.warning("%s: cannot be listed (%s)", self._folder, error.strerror)
            return []
        return [(path, version) for path in paths if (version := _version(path)) is not None]

    def _judge(self, path: Path, version: str) -> OfferedLora | None:
        """The file as it is offered; None, and a line in the log, if it cannot be."""
        name = unicodedata.normalize("NFC", path.stem)
        try:
            if not name.isprintable() or ":" in name or len(name) > MAX_NAME:
                raise ModelLoadError(
                    f"{str(path)!r}: a LoRA's name must have at most {MAX_NAME} printable characters and no colon"
                )
            plan = check_lora(path, self._targets, self._model)
            nbytes = plan.numbers * self._itemsize
            if nbytes > self._max_bytes:
                raise ModelLoadError(f"{path}: takes {nbytes:,} bytes, and LoRAs may take {self._max_bytes:,}")
        except ModelLoadError as error:
            log.warning("%s; it is not offered", error.message)
            return None
        log.info("LoRA offered", extra={"lora": name, "bytes": nbytes})
        return OfferedLora(name, path, version, nbytes, plan.left_out)


def _version(path: Path) -> str | None:
    """A mark of the file's content; None if the file is gone, or is a folder."""
    try:
        status = path.stat()
    except OSError:
        return None
    return f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}" if path.is_file() else None
