"""An EditService in threads of this process, for commands run as programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from imgedit.errors import ImgeditError, to_status
from imgedit.v1 import edit_pb2, edit_pb2_grpc

RESULT = b"\x89PNG the result"


@dataclass
class EditServer(edit_pb2_grpc.EditServiceServicer):
    """Answers every edit with the same bytes; remembers what it was sent.

    before: called before an answer. error: what edits end with instead. lacking: services that the experiment lacks.
    """

    port: int = 0
    seen: list[edit_pb2.EditRequest] = field(default_factory=list)
    before: Callable[[], None] = lambda: None
    error: ImgeditError | None = None
    lacking: tuple[str, ...] = ()
    estimate: edit_pb2.EstimateEditResponse = field(default_factory=edit_pb2.EstimateEditResponse)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def EditStream(self, request: edit_pb2.EditRequest, context: Any) -> Iterator[edit_pb2.EditEvent]:
        self.seen.append(request)
        yield edit_pb2.EditEvent(stage=edit_pb2.StageStarted(name="fill", index=1, count=1))
        self.before()
        if self.error is not None:
            yield edit_pb2.EditEvent(error=to_status(self.error))
            return
        for index in range(request.n or 1):
            answer = edit_pb2.EditResponse(
                success=True,
                output_image=RESULT + (str(index).encode() if index else b""),
                mask_image=RESULT,
                seed=7 + index,
                width=1,
                height=1,
                warnings=["경고 – ‘warning’"],
            )
            yield edit_pb2.EditEvent(result=answer, index=index)

    def EstimateEdit(self, request: edit_pb2.EditRequest, context: Any) -> edit_pb2.EstimateEditResponse:
        self.seen.append(request)
        return self.estimate

    def EditBatch(self, requests: Iterator[edit_pb2.EditRequest], context: Any) -> Iterator[edit_pb2.EditEvent]:
        for request in requests:
            yield edit_pb2.EditEvent(request_id=request.request_id, result=edit_pb2.EditResponse(success=True))

    def ListExperiments(self, request: Any, context: Any) -> edit_pb2.ListExperimentsResponse:
        steps = edit_pb2.NumberRange(min=10, max=50)
        spec = edit_pb2.ParameterSpec(name="steps", type=edit_pb2.PARAMETER_TYPE_INTEGER, range=steps)
        feature = edit_pb2.Feature(id="inpainting", name="배경 교체 – é", available=True, parameters=[spec])
        found = edit_pb2.Experiment(
            id="one",
            name="이미지 편집",
            description="인물을 ‘그대로’ 두고 …",
            available=not self.lacking,
            unavailable_services=self.lacking,
            features=[feature],
        )
        return edit_pb2.ListExperimentsResponse(experiments=[found])


@contextmanager
def edit_server() -> Iterator[EditServer]:
    servicer = EditServer()
    server = grpc.server(ThreadPoolExecutor(8))
    edit_pb2_grpc.add_EditServiceServicer_to_server(servicer, server)
    servicer.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer
    finally:
        server.stop(0).wait()
