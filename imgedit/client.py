"""The client: `EditClient` for asyncio, `SyncEditClient` with the same methods for plain code.

Errors are the classes of `imgedit.errors`. This module knows the public API only; it judges no picture and no range,
since the server does and answers with the field at fault.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import grpc
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from imgedit.channels import TlsFiles, open_channel
from imgedit.errors import ImgeditError, InternalError, ServiceUnavailable, from_status
from imgedit.v1 import edit_pb2, edit_pb2_grpc

T = TypeVar("T")

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 300.0

ImageSource = bytes | str | Path
"""A picture: its bytes, or the path of a file."""

Profile = Literal["fast", "balanced", "high"]

OnEvent = Callable[[edit_pb2.EditEvent], None]


class EditClient:
    """Calls EditService from asyncio.

    async with EditClient("127.0.0.1:50051") as client:
        answer = await client.edit("photo.jpg", experiment="ben2_flux_fill", prompt="a bright modern gym")
        Path("out.png").write_bytes(answer.output_image)
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        token: str | None = None,
        tls: bool = False,
        tls_ca: Path | str | None = None,
        client_certificate: Path | str | None = None,
        client_key: Path | str | None = None,
    ) -> None:
        """`token` goes with every call. `tls` trusts the public authorities, `tls_ca` those of a PEM file instead;
        `client_certificate` and `client_key` are PEM files for a server that asks for them.

        Raises `SettingsError` for a file at fault, and for a token that would leave this machine without TLS.
        """
        self._target = target
        self._channel = open_channel(
            target,
            tls=_tls_files(tls, tls_ca, client_certificate, client_key),
            token=(lambda: token) if token else None,
        )
        self._stub = edit_pb2_grpc.EditServiceStub(self._channel)

    async def __aenter__(self) -> EditClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def edit(
        self,
        image: ImageSource,
        *,
        experiment: str,
        prompt: str,
        feature: str | None = None,
        negative_prompt: str | None = None,
        negative_scale: float | None = None,
        steps: int | None = None,
        guidance_scale: float | None = None,
        strength: float | None = None,
        seed: int | None = None,
        mask: ImageSource | None = None,
        outpaint: edit_pb2.Outpaint | None = None,
        references: Sequence[ImageSource] = (),
        profile: Profile = "balanced",
        postprocess: bool = True,
        preview_every: int | None = None,
        output: edit_pb2.OutputOptions | None = None,
        request_id: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        on_event: OnEvent | None = None,
    ) -> edit_pb2.EditResponse:
        """Edit one picture and return the answer.

        Parameters left out take the feature's defaults; `experiments()` lists them with their ranges. `timeout` is in
        seconds. `on_event` is called with every report on the way (queued, stage, progress, preview).
        Raises the classes of `imgedit.errors`; cancelling the task cancels the edit.
        """
        request = edit_pb2.EditRequest(
            experiment_id=experiment,
            input_image=_read(image),
            prompt=prompt,
            feature_id=feature,
            negative_prompt=negative_prompt,
            negative_scale=negative_scale,
            steps=steps,
            guidance_scale=guidance_scale,
            strength=strength,
            seed=seed,
            mask_image=_read(mask) if mask is not None else b"",
            outpaint=outpaint,
            reference_images=[_read(reference) for reference in references],
            profile=f"PROFILE_{profile.upper()}",
            postprocess="POSTPROCESS_ON" if postprocess else "POSTPROCESS_OFF",
            preview_every=preview_every,
            output=output,
            request_id=request_id,
        )
        answer: edit_pb2.EditResponse | None = None
        # Read to the end, also after the result: leaving early would look like a cancelled call to the server.
        async for event in self.edit_stream(request, timeout=timeout):
            if event.HasField("result"):
                answer = event.result
            elif on_event is not None:
                on_event(event)
        if answer is None:
            raise InternalError("the stream ended without a result; the server must send one")
        return answer

    async def edit_stream(
        self, request: edit_pb2.EditRequest, *, timeout: float = DEFAULT_TIMEOUT
    ) -> AsyncIterator[edit_pb2.EditEvent]:
        """The events of one edit, the last of which is its result. An `error` event is raised as its class."""
        with _Translated(self._target):
            call = self._stub.EditStream(request, timeout=timeout)
            try:
                async for event in call:
                    if event.HasField("error"):
                        raise from_status(event.error)
                    yield event
            finally:
                call.cancel()

    async def experiments(self, *, timeout: float = 10.0) -> list[edit_pb2.Experiment]:
        """All experiments with their features and parameters."""
        found: list[edit_pb2.Experiment] = []
        request = edit_pb2.ListExperimentsRequest()
        with _Translated(self._target):
            while True:
                page = await self._stub.ListExperiments(request, timeout=timeout)
                found.extend(page.experiments)
                if not page.next_page_token:
                    return found
                request.page_token = page.next_page_token

    async def is_serving(self, *, timeout: float = 5.0) -> bool:
        """Whether the server says that it is SERVING; False where nothing answers."""
        stub = health_pb2_grpc.HealthStub(self._channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


class SyncEditClient:
    """`EditClient` for plain code: the same methods, run on an event loop in a thread of its own. Thread-safe."""

    def __init__(self, target: str = DEFAULT_TARGET, **credentials: Any) -> None:
        """`credentials` are the keyword arguments of `EditClient`."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="imgedit-client", daemon=True)
        self._thread.start()
        try:
            self._client = self._run(_make(target, credentials))
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> SyncEditClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread."""
        self._run(self._client.close())
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def edit(self, image: ImageSource, *, experiment: str, prompt: str, **options: Any) -> edit_pb2.EditResponse:
        """`EditClient.edit`, with the same options; `on_event` is called on the client's thread."""
        return self._run(self._client.edit(image, experiment=experiment, prompt=prompt, **options))

    def experiments(self, *, timeout: float = 10.0) -> list[edit_pb2.Experiment]:
        """`EditClient.experiments`."""
        return self._run(self._client.experiments(timeout=timeout))

    def is_serving(self, *, timeout: float = 5.0) -> bool:
        """`EditClient.is_serving`."""
        return self._run(self._client.is_serving(timeout=timeout))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


async def _make(target: str, credentials: dict[str, Any]) -> EditClient:
    """The channel belongs to the loop that it is made on."""
    return EditClient(target, **credentials)


def _tls_files(
    tls: bool, ca: Path | str | None, certificate: Path | str | None, key: Path | str | None
) -> TlsFiles | None:
    if not (tls or ca or certificate or key):
        return None
    return TlsFiles(*(Path(file) if file else None for file in (ca, certificate, key)))


def _read(source: ImageSource) -> bytes:
    return source if isinstance(source, bytes) else Path(source).read_bytes()


class _Translated:
    """Turns a gRPC error into the class of `imgedit.errors` that the server raised."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, grpc.aio.AioRpcError):
            raise error_of(error, self._target) from None


def error_of(error: grpc.aio.AioRpcError, target: str) -> ImgeditError:
    """The error that a failed call stands for; a server that does not answer is named by its address."""
    status = rpc_status.from_call(error)
    if status is not None:
        return from_status(status)
    translated = from_status(status_pb2.Status(code=error.code().value[0], message=error.details() or ""))
    if isinstance(translated, ServiceUnavailable):
        return ServiceUnavailable(f"no answer from {target}: {error.details()}; is the server running?")
    return translated
