"""The synchronous client: `EditClient` on an event loop in its own thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar, Unpack

from imgedit.arguments import seconds
from imgedit.channels import check_process
from imgedit.client import (
    CLOSED,
    DEFAULT_ESTIMATE_TIMEOUT,
    DEFAULT_PARALLEL,
    DEFAULT_TIMEOUT,
    CancelOutcome,
    ClientOptions,
    EditClient,
    OnEvent,
    OnManyProgress,
    OnResult,
)
from imgedit.errors import DeadlineExceeded
from imgedit.image_source import ImageSource
from imgedit.keywords import accepting, refusing_unknown
from imgedit.progress import OnProgress
from imgedit.request import EditOptions
from imgedit.result import EditEstimate, EditResult, EditStatus
from imgedit.v1 import edit_pb2

T = TypeVar("T")

HELD_UP_SECONDS = 5.0
"""How long after its timeout a call may still come back by itself."""


class SyncEditClient:
    """`EditClient` for synchronous code: the same methods.

    They run on an event loop in its own thread. Thread-safe. A forked process cannot use it, nor a new one:
    `ForkError`. A call from its own callback, which runs on that thread, would deadlock: RuntimeError.
    """

    @refusing_unknown(*ClientOptions.__annotations__)
    def __init__(self, target: str | None = None, **options: Unpack[ClientOptions]) -> None:
        """The target and the options are those of `EditClient`."""
        check_process()
        self._is_closed = False
        self._closing = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._loop.run_forever, name="imgedit-client", daemon=True)
        self._thread.start()
        try:
            self._client = self._run(_make(target, options))
        except BaseException:
            self._is_closed = True
            self._end()
            raise

    def __enter__(self) -> SyncEditClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread.

        Calls that still run on other threads end with RuntimeError. In a forked process there is nothing to close.
        """
        if self._process != os.getpid():
            return
        self._refuse_callback()
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        asyncio.run_coroutine_threadsafe(self._client.close(), self._loop).result()
        self._end()

    def _end(self) -> None:
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @accepting(EditOptions)
    def edit(
        self,
        image: ImageSource,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
        on_result: OnResult | None = None,
        **options: Unpack[EditOptions],
    ) -> EditResult:
        """Edit one picture and return the result, as `EditClient.edit`.

        `image` is the bytes or the path of a PNG, JPEG or WebP file, a file opened in binary mode, a PIL.Image or a
        NumPy array. `timeout` is in seconds. `on_event`, `on_progress` and `on_result` are called on the client's
        thread.
        """
        work = self._client.edit(
            image, timeout=timeout, on_event=on_event, on_progress=on_progress, on_result=on_result, **options
        )
        return self._run(work, timeout)

    @accepting(EditOptions)
    def edit_many(
        self,
        images: Iterable[ImageSource | Mapping[str, Any]],
        *,
        max_parallel: int = DEFAULT_PARALLEL,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_progress: OnManyProgress | None = None,
        **options: Unpack[EditOptions],
    ) -> list[EditResult | Exception]:
        """Edit many pictures with the same options, like `EditClient.edit_many`.

        Returns, in the order of `images`, each result or its exception. `on_progress` is called on the client's thread.
        `timeout` is in seconds for each picture.
        """
        work = self._client.edit_many(
            images, max_parallel=max_parallel, timeout=timeout, on_progress=on_progress, **options
        )
        return self._run(work)

    @refusing_unknown()
    def edit_stream(
        self, request: edit_pb2.EditRequest, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> Iterator[edit_pb2.EditEvent]:
        """`EditClient.edit_stream`; leaving the loop early cancels the edit."""
        return self._each(self._client.edit_stream(request, timeout=timeout), timeout)

    @refusing_unknown()
    def edit_batch(
        self, requests: Iterable[edit_pb2.EditRequest], *, timeout: float | None = None
    ) -> Iterator[edit_pb2.EditEvent]:
        """`EditClient.edit_batch`; leaving the loop early cancels what still runs."""
        return self._each(self._client.edit_batch(_from_thread(iter(requests)), timeout=timeout), timeout)

    @refusing_unknown()
    def cancel(self, request_id: str, *, timeout: float | None = 10.0) -> CancelOutcome:
        """`EditClient.cancel`."""
        return self._run(self._client.cancel(request_id, timeout=timeout), timeout)

    @refusing_unknown()
    def get_edit(self, request_id: str, *, timeout: float | None = 10.0) -> EditStatus:
        """`EditClient.get_edit`."""
        return self._run(self._client.get_edit(request_id, timeout=timeout), timeout)

    @accepting(EditOptions)
    def estimate(
        self, image: ImageSource, *, timeout: float | None = DEFAULT_ESTIMATE_TIMEOUT, **options: Unpack[EditOptions]
    ) -> EditEstimate:
        """`EditClient.estimate`."""
        return self._run(self._client.estimate(image, timeout=timeout, **options), timeout)

    @refusing_unknown()
    def experiments(self, *, timeout: float | None = 10.0) -> list[edit_pb2.Experiment]:
        """`EditClient.experiments`."""
        return self._run(self._client.experiments(timeout=timeout), timeout)

    @refusing_unknown()
    def is_serving(self, *, timeout: float | None = 5.0) -> bool:
        """`EditClient.is_serving`."""
        return self._run(self._client.is_serving(timeout=timeout), timeout)

    def _each(self, events: AsyncGenerator[T, None], timeout: float | None) -> Iterator[T]:
        seconds("timeout", timeout)
        ends_at = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                left = None if ends_at is None else max(0.0, ends_at - time.monotonic())
                if (event := self._result(_next(events), left)) is None:
                    return
                yield event
        finally:
            if not self._is_closed:  # closing has ended it
                self._result(events.aclose())

    def _refuse_callback(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError("a callback of the client cannot call it: it runs on the client's thread")

    def _run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """The result of the work of one call, whose timeout is judged here too."""
        try:
            seconds("timeout", timeout)
        except BaseException:
            work.close()
            raise
        return self._result(work, timeout)

    def _result(self, work: Coroutine[Any, Any, T], left: float | None = None) -> T:
        """The result of the work.

        The call itself enforces the timeout; here it matters only if its thread is blocked.
        """
        try:
            check_process()
            self._refuse_callback()
            with self._closing:  # what is submitted before the end is cancelled by it
                if self._is_closed:
                    raise RuntimeError(CLOSED)
                future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except BaseException:
            work.close()
            raise
        try:
            return future.result(None if left is None else left + HELD_UP_SECONDS)
        except concurrent.futures.TimeoutError:
            future.cancel()
            if future.done() and not future.cancelled():
                raise  # the work's own
            raise DeadlineExceeded(f"no answer within {left:g} s: the client's thread is held up") from None
        except concurrent.futures.CancelledError:
            if self._is_closed:
                raise RuntimeError(f"{CLOSED}; this call had not ended") from None
            raise
        except BaseException:
            future.cancel()
            raise


async def _make(target: str | None, options: ClientOptions) -> EditClient:
    """The channel belongs to the loop that it is made on."""
    return EditClient(target, **options)


async def _cancel_all() -> None:
    """End what still runs on this loop, so that nothing is left when it closes."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _from_thread(requests: Iterator[edit_pb2.EditRequest]) -> AsyncIterator[edit_pb2.EditRequest]:
    """Read the iterator on another thread, so that a waiting one delays no response."""
    while (request := await asyncio.to_thread(next, requests, None)) is not None:
        yield request


async def _next(events: AsyncIterator[T]) -> T | None:
    return await anext(events, None)
