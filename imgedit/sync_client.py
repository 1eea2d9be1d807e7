"""The client for plain code: `EditClient` on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar, Unpack

from imgedit.client import (
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT,
    CancelOutcome,
    ClientOptions,
    EditClient,
    OnEvent,
)
from imgedit.progress import OnProgress
from imgedit.request import EditOptions, ImageSource
from imgedit.v1 import edit_pb2

T = TypeVar("T")


class SyncEditClient:
    """`EditClient` for plain code: the same methods, run on an event loop in a thread of its own. Thread-safe."""

    def __init__(self, target: str = DEFAULT_TARGET, **options: Unpack[ClientOptions]) -> None:
        """The options are those of `EditClient`."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="imgedit-client", daemon=True)
        self._thread.start()
        try:
            self._client = self._run(_make(target, options))
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

    def edit(
        self,
        image: ImageSource,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[EditOptions],
    ) -> edit_pb2.EditResponse:
        """`EditClient.edit`; `on_event` and `on_progress` are called on the client's thread."""
        work = self._client.edit(image, timeout=timeout, on_event=on_event, on_progress=on_progress, **options)
        return self._run(work)

    def edit_stream(
        self, request: edit_pb2.EditRequest, *, timeout: float = DEFAULT_TIMEOUT
    ) -> Iterator[edit_pb2.EditEvent]:
        """`EditClient.edit_stream`; leaving the loop early cancels the edit."""
        return self._each(self._client.edit_stream(request, timeout=timeout))

    def edit_batch(
        self, requests: Iterable[edit_pb2.EditRequest], *, timeout: float | None = None
    ) -> Iterator[edit_pb2.EditEvent]:
        """`EditClient.edit_batch`; leaving the loop early cancels what still runs."""
        return self._each(self._client.edit_batch(requests, timeout=timeout))

    def cancel(self, request_id: str, *, timeout: float = 10.0) -> CancelOutcome:
        """`EditClient.cancel`."""
        return self._run(self._client.cancel(request_id, timeout=timeout))

    def experiments(self, *, timeout: float = 10.0) -> list[edit_pb2.Experiment]:
        """`EditClient.experiments`."""
        return self._run(self._client.experiments(timeout=timeout))

    def is_serving(self, *, timeout: float = 5.0) -> bool:
        """`EditClient.is_serving`."""
        return self._run(self._client.is_serving(timeout=timeout))

    def _each(self, events: AsyncGenerator[T, None]) -> Iterator[T]:
        try:
            while (event := self._run(_next(events))) is not None:
                yield event
        finally:
            self._run(events.aclose())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


async def _make(target: str, options: ClientOptions) -> EditClient:
    """The channel belongs to the loop that it is made on."""
    return EditClient(target, **options)


async def _next(events: AsyncIterator[T]) -> T | None:
    return await anext(events, None)
