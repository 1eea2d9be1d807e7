"""The ways into the stack: gRPC, JSON, OpenAI's API, and cut connections.

Each gives how the call ended: "result", or the reason of the error. `Unclear` is raised for an answer without either.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx2
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from imgedit.channels import CHANNEL_OPTIONS
from imgedit.v1 import edit_pb2, edit_pb2_grpc

OPENAI_REASONS = {
    "rate_limit_exceeded": "TOO_MANY_EDITS",
    "model_not_found": "EXPERIMENT_NOT_FOUND",
}
"""OpenAI's codes; its other codes are our reasons in small letters."""

RESULT = "result"


class Unclear(Exception):
    """An answer that is neither a result nor an error with a reason."""


def reason_of(status: status_pb2.Status) -> str:
    """The reason in a status. Raises `Unclear` where it has none."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return info.reason
    raise Unclear(f"a status without a reason: {status.code} {status.message}")


def reason_of_call(error: grpc.aio.AioRpcError) -> str:
    """The reason of a failed call.

    A call that passed its own deadline has none from the server.
    """
    if (status := rpc_status.from_call(error)) is not None:
        return reason_of(status)
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "DEADLINE_PASSED"
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return "SERVICE_UNAVAILABLE"
    raise Unclear(f"{error.code()}: {error.details()}")


async def unary(stub: Any, request: edit_pb2.EditRequest, timeout: float) -> str:
    """`Edit`."""
    try:
        answer = await stub.Edit(request, timeout=timeout)
    except grpc.aio.AioRpcError as error:
        return reason_of_call(error)
    return _whole(answer.success and bool(answer.output_image), answer)


async def stream(stub: Any, request: edit_pb2.EditRequest, timeout: float, *, cancel: bool = False) -> str:
    """`EditStream`; with `cancel`, `CancelEdit` after the first event of progress."""
    last, asked = None, False
    try:
        async for event in stub.EditStream(request, timeout=timeout):
            last = event
            if cancel and not asked and event.HasField("progress"):
                asked = True
                await stub.CancelEdit(edit_pb2.CancelEditRequest(request_id=request.request_id), timeout=timeout)
    except grpc.aio.AioRpcError as error:
        return reason_of_call(error)
    if last is not None and last.HasField("error"):
        return reason_of(last.error)
    return _whole(last is not None and last.HasField("result"), last)


async def rest(client: httpx2.AsyncClient, request: edit_pb2.EditRequest) -> str:
    """`POST /v1/edits`."""
    answer = await client.post("/v1/edits", json=MessageToDict(request))
    body = _json(answer.content)
    if answer.status_code == 200:
        return _whole(bool(body.get("output_image_base64")), answer.status_code)
    return _reason_in(body)


async def rest_stream(client: httpx2.AsyncClient, request: edit_pb2.EditRequest) -> str:
    """`POST /v1/edits:stream`."""
    last: dict[str, Any] = {}
    async with client.stream("POST", "/v1/edits:stream", json=MessageToDict(request)) as answer:
        async for line in answer.aiter_lines():
            if line:
                last = _json(line.encode())
    if "error" in last:
        return _reason_in(last["error"])
    if answer.status_code != 200:
        return _reason_in(last)
    return _whole("result" in last, list(last))


async def openai(client: httpx2.AsyncClient, request: edit_pb2.EditRequest) -> str:
    """`POST /v1/images/edits`."""
    form = {
        "model": f"{request.experiment_id}/{request.feature_id}",
        "prompt": request.prompt,
        "steps": str(request.steps),
        "seed": str(request.seed),
    }
    answer = await client.post("/v1/images/edits", data=form, files={"image": ("picture", request.input_image)})
    body = _json(answer.content)
    if answer.status_code == 200:
        return _whole(bool(body.get("data")), answer.status_code)
    error = body.get("error")
    if not isinstance(error, dict):  # the edge itself answers in the form of a status
        return _reason_in(body)
    code = str(error.get("code", ""))
    return OPENAI_REASONS.get(code, code.upper())


async def cut_rest(port: int, request: edit_pb2.EditRequest, *, in_upload: bool = False) -> None:
    """Open a stream over HTTP and reset its connection.

    After the first progress, or in the middle of the body.
    """
    body = json.dumps(MessageToDict(request)).encode()
    head = (
        "POST /v1/edits:stream HTTP/1.1\r\nhost: soak\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**26)
    try:
        writer.write(head.encode() + (body[: len(body) // 2] if in_upload else body))
        await writer.drain()
        while not in_upload and (line := await reader.readline()) and b'"progress"' not in line:
            pass
    finally:
        writer.transport.abort()


async def cut_grpc(port: int, request: edit_pb2.EditRequest, timeout: float) -> None:
    """Open a stream over gRPC and reset its TCP connection after the first progress."""
    async with relay(port) as (near, cut), grpc.aio.insecure_channel(f"127.0.0.1:{near}", CHANNEL_OPTIONS) as channel:
        with contextlib.suppress(grpc.aio.AioRpcError):  # of the cut
            async for event in edit_pb2_grpc.EditServiceStub(channel).EditStream(request, timeout=timeout):
                if event.HasField("progress"):
                    cut()


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[tuple[int, Any]]:
    """A TCP relay to a port of this machine.

    Yields its own port, and a function that resets its connections.
    """
    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[None]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(2**16):
                writer.write(data)
                await writer.drain()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, back))
        tasks.extend((asyncio.create_task(pump(reader, back)), asyncio.create_task(pump(there, writer))))

    def cut() -> None:
        server.close()
        for writer in writers:
            writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], cut
    finally:
        cut()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def garbage(port: int, data: bytes) -> None:
    """Send bytes of no protocol.

    Reads until the server closes or a second has passed.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(reader.read(2**16), 1)
    finally:
        writer.transport.abort()


def _json(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise Unclear(f"an answer that is not JSON: {content[:200]!r}") from error
    if not isinstance(found, dict):
        raise Unclear(f"an answer that is not an object: {content[:200]!r}")
    return found


def _reason_in(body: dict[str, Any]) -> str:
    reasons = [detail["reason"] for detail in body.get("details", []) if "reason" in detail]
    if not reasons:
        raise Unclear(f"a status without a reason: {json.dumps(body)[:300]}")
    return str(reasons[0])


def _whole(is_whole: bool, answer: object) -> str:
    if not is_whole:
        raise Unclear(f"neither a result nor an error: {str(answer)[:200]}")
    return RESULT
