"""The results of the client's calls: edits, their state, and progress."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from imgedit import output_files
from imgedit.call_errors import in_python
from imgedit.errors import ImgeditError, from_status
from imgedit.progress import Progress
from imgedit.remarks import add_remark, korean, read_remarks
from imgedit.v1 import edit_pb2, progress_pb2

if TYPE_CHECKING:
    from PIL import Image

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

_STARTS = {b"\x89PNG": "PNG", b"\xff\xd8": "JPEG", b"RIFF": "WEBP"}
_ENDINGS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".webp": "WEBP"}


@dataclass(frozen=True, repr=False)
class EditResult:
    """A finished edit: its pictures and what was used.

    `bytes(result)` is the file of the result, `image()` the same as a PIL image, `save(path)` writes it. `message` is
    the API's EditResponse, whose fields are properties here.
    """

    message: edit_pb2.EditResponse

    def __hash__(self) -> int:
        return hash((self.request_id, self.seed))  # a message has no hash

    def __repr__(self) -> str:
        size = f"{self.width}x{self.height}"
        kilobytes = f"{len(self.output_image) / 1000:.0f} kB"
        return (
            f"<EditResult {size} {self.format} {kilobytes}, seed {self.seed}, {self.elapsed_time:.1f} s, "
            f"request_id {self.request_id!r}>"
        )

    def __bytes__(self) -> bytes:
        return self.output_image

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        """For notebooks, which show the picture.

        The keywords choose among formats; there is one.
        """
        return {f"image/{self.format.lower()}": self.output_image, "text/plain": repr(self)}

    def image(self) -> Image.Image:
        """The result as a PIL image."""
        return _opened(self.output_image)

    def cutout(self) -> Image.Image | None:
        """The subject cut out, an RGBA image; None where the answer holds none."""
        return _opened(self.background_removed_image) if self.background_removed_image else None

    def mask(self) -> Image.Image | None:
        """The mask alpha, an L image; None if the response has none.

        0 = the picture's own pixel, 255 = painted.
        """
        return _opened(self.mask_image) if self.mask_image else None

    def save(self, path: str | Path) -> Path:
        """Write the file of the result, whole or not at all; returns its path.

        The name must have an ending of the result's format: .png, .jpg, .jpeg, .jfif or .webp. Raises ValueError for
        another ending or none, OSError where the file cannot be written.
        """
        path = Path(path)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder; name a file in it", str(path))
        wanted = _ENDINGS.get(path.suffix.lower())
        if wanted != self.format:
            endings = " or ".join(ending for ending, format in _ENDINGS.items() if format == self.format)
            other = f", or ask for output=Output(format={wanted.lower()!r})" if wanted else ""
            raise ValueError(f"{path}: the result is a {self.format} file; its name must end in {endings}{other}")
        output_files.write_whole(path, self.output_image)
        return path

    @property
    def results(self) -> list[EditResult]:
        """All results of the request in the order of their seeds; the first is this one."""
        return [EditResult(single) for single in single_results(self.message)]

    @property
    def format(self) -> str:
        """Of the result: "PNG", "JPEG" or "WEBP"."""
        return next((name for start, name in _STARTS.items() if self.output_image.startswith(start)), "PNG")

    @property
    def success(self) -> bool:
        """Always True: a failed edit raises."""
        return self.message.success

    @property
    def experiment_id(self) -> str:
        """Id of the experiment."""
        return self.message.experiment_id

    @property
    def experiment_name(self) -> str:
        """Its name for people."""
        return self.message.experiment_name

    @property
    def output_image(self) -> bytes:
        """The file of the result."""
        return self.message.output_image

    @property
    def background_removed_image(self) -> bytes:
        """The subject cut out, an RGBA PNG file; empty where there is none."""
        return self.message.background_removed_image

    @property
    def mask_image(self) -> bytes:
        """The mask alpha of the final composite, a grey PNG file; empty if absent."""
        return self.message.mask_image

    @property
    def width(self) -> int:
        """Of the result, in pixels."""
        return self.message.width

    @property
    def height(self) -> int:
        """Of the result, in pixels."""
        return self.message.height

    @property
    def seed(self) -> int:
        """The seed that was used."""
        return self.message.seed

    @property
    def elapsed_time(self) -> float:
        """Seconds that the server took."""
        return self.message.elapsed_time

    @property
    def effective(self) -> edit_pb2.EffectiveParameters:
        """Every parameter as it was used."""
        return self.message.effective

    @property
    def stage_timings(self) -> Sequence[progress_pb2.Timing]:
        """Seconds per stage; stages may overlap."""
        return self.message.stage_timings

    @property
    def warnings(self) -> Sequence[str]:
        """Notes for the caller, in English."""
        return self.message.warnings

    @property
    def korean_warnings(self) -> Sequence[str]:
        """`warnings` in Korean, in the same order.

        In English from a server of an earlier release.
        """
        return korean(read_remarks(self.message))

    @property
    def request_id(self) -> str:
        """The id of the request."""
        return self.message.request_id


@dataclass(frozen=True)
class EditStatus:
    """Where an edit is.

    state: "queued", "running", "succeeded", "failed" or "cancelled".
    is_over: whether it has ended, in one of the last three states.
    progress: while it is queued or runs.
    result: once it has succeeded and while the server keeps the answer.
    error: why it failed or was cancelled.
    """

    request_id: str
    state: State
    progress: Progress | None = None
    result: EditResult | None = None
    error: ImgeditError | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended: "succeeded", "failed" or "cancelled"."""
        return self.state not in ("queued", "running")


@dataclass(frozen=True)
class EditEstimate:
    """The expected course of an edit that began now.

    seconds: until its result; queue_seconds: of these, the wait for the model services. None = not known yet.
    queue_position: jobs ahead of it there.
    """

    seconds: float | None
    queue_seconds: float | None
    queue_position: int


@dataclass(frozen=True)
class ManyProgress:
    """How many edits of many have ended, and how many of these failed."""

    done: int
    failed: int
    total: int


_STATES: dict[int, State] = {
    edit_pb2.EDIT_STATE_QUEUED: "queued",
    edit_pb2.EDIT_STATE_RUNNING: "running",
    edit_pb2.EDIT_STATE_SUCCEEDED: "succeeded",
    edit_pb2.EDIT_STATE_FAILED: "failed",
    edit_pb2.EDIT_STATE_CANCELLED: "cancelled",
}


def status_of(found: edit_pb2.GetEditResponse) -> EditStatus:
    """GetEdit's response as an `EditStatus`."""
    state = _STATES[found.state]
    progress = Progress()
    for name in ("stage", "queued", "progress"):
        if found.HasField(name):
            progress = progress.after(edit_pb2.EditEvent(**{name: getattr(found, name)}))
    return EditStatus(
        request_id=found.request_id,
        state=state,
        progress=progress if state in ("queued", "running") else None,
        result=EditResult(found.result) if found.HasField("result") else None,
        error=in_python(from_status(found.error)) if found.HasField("error") else None,
    )


def combined(responses: Sequence[edit_pb2.EditResponse]) -> edit_pb2.EditResponse:
    """The response of a request, from the response of each result.

    Changes the first response.
    """
    first = responses[0]
    for response in responses[1:]:
        first.further_results.add(output_image=response.output_image, seed=response.seed)
    first.elapsed_time = max(response.elapsed_time for response in responses)
    remarks = dict.fromkeys(remark for response in responses for remark in read_remarks(response))
    first.ClearField("warnings")
    first.ClearField("korean_warnings")
    for remark in remarks:
        add_remark(first, remark)
    return first


def single_results(response: edit_pb2.EditResponse) -> Iterator[edit_pb2.EditResponse]:
    """A response for each result of a request, in the order of their seeds."""
    if not response.further_results:
        yield response
        return
    first = edit_pb2.EditResponse()
    first.CopyFrom(response)
    first.ClearField("further_results")
    yield first
    for further in response.further_results:
        single = edit_pb2.EditResponse()
        single.CopyFrom(first)
        single.output_image, single.seed, single.effective.seed = further.output_image, further.seed, further.seed
        yield single


def estimate_of(found: edit_pb2.EstimateEditResponse) -> EditEstimate:
    """EstimateEdit's response as an `EditEstimate`."""
    return EditEstimate(
        seconds=found.seconds if found.HasField("seconds") else None,
        queue_seconds=found.queue_seconds if found.HasField("queue_seconds") else None,
        queue_position=found.queue_position,
    )


def _opened(data: bytes) -> Image.Image:
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    image.load()
    return image
