"""Receive and send messages within limits, so that unfinished ones do not pile up.

A message being received may hold its whole size before any handler sees it, and so does an unread response. Reads and
writes are never cancelled: gRPC would continue to use memory that Python has freed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from imgedit.errors import DeadlineExceeded, InvalidArgument, QueueFull
from services.common import connections
from services.common.call_context import Context

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """Limits on messages.

    receive_seconds: per message, including the wait for a slot. at_once, per_caller: concurrent receptions.
    send_seconds: for a caller to read one message.
    """

    receive_seconds: float = 60.0
    at_once: int = 32
    per_caller: int = 8
    send_seconds: float = 300.0


DEFAULT_LIMITS = Limits()

HEALTH_LIMITS = Limits(receive_seconds=10.0, at_once=16, per_caller=4)
"""For messages of a few bytes, of which strangers may send some: a caller is an address there."""


WATCH_LIMITS = Limits(per_caller=64)
"""For streams of health, which do not end and are open to all: a caller is an address there too."""

MAX_VALUES = 10_000
"""Of a request. Parsed, each takes up to 50 bytes, and may be sent in two: 8 MiB of empty messages took 224 MiB."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def bounded(parse: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """The deserializer of a message class, limited to MAX_VALUES values.

    Raises `InvalidArgument` for more, before it parses them.
    """
    of: type[Message] = parse.__self__  # type: ignore[attr-defined]  # FromString of the class

    def parsed(data: bytes) -> T:
        if len(data) > MAX_VALUES:
            try:
                _count(of.DESCRIPTOR, data, 0, len(data), 0)
            except IndexError:
                raise DecodeError("truncated") from None
        return parse(data)

    return parsed


def _count(of: Any, data: bytes, at: int, end: int, count: int) -> int:
    """Add the values from `at` to `end`, in nested messages too, to `count`.

    Raises `InvalidArgument` for too many.
    """
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        field = of.fields_by_number.get(number)
        count += 1
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            length, at = _varint(data, at)
            if field is not None and field.message_type is not None:
                count = _count(field.message_type, data, at, min(at + length, end), count)
            elif field is not None and field.type not in (field.TYPE_BYTES, field.TYPE_STRING):
                count += length  # packed numbers, of one byte or more
            at += length
        if count > MAX_VALUES:
            raise InvalidArgument(f"the request has more than {MAX_VALUES} values; no call needs so many")
    return count


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and the place behind it."""
    number = shift = 0
    while data[at] >= 0x80:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if shift > 63:
            raise IndexError("no number has so many bytes")
    return number | data[at] << shift, at + 1


class Messages:
    """Receives and sends the messages of one server's calls.

    Belongs to one event loop.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(limits.at_once)
        self._own_places: dict[Hashable, asyncio.Semaphore] = {}
        self._users: Counter[Hashable] = Counter()
        self._streams: Counter[Hashable] = Counter()
        self._connections = connections.Connections()

    async def receive(self, context: Context, caller: Hashable) -> Any:
        """The single message of a call; None if the caller has gone.

        Raises `DeadlineExceeded` if it takes too long, `QueueFull` if too many are being received, and
        `InvalidArgument` for an invalid message.
        """
        ends_at = asyncio.get_running_loop().time() + self._limits.receive_seconds
        async with self._place(caller):
            message = await self._read(context, max(0.0, ends_at - asyncio.get_running_loop().time()))
        return None if message is grpc.aio.EOF else message

    @contextmanager
    def streaming(self, caller: Hashable) -> Iterator[None]:
        """A call with many messages, one of which may be partly received.

        Raises `QueueFull`.
        """
        if self._streams[caller] >= self._limits.per_caller:
            raise QueueFull(
                f"{self._limits.per_caller} streams of this caller are open already, which is the most at once",
                korean="동시에 열 수 있는 스트림 수를 넘었습니다. 진행 중인 요청이 끝난 뒤 다시 시도하세요.",
            )
        self._streams[caller] += 1
        try:
            yield
        finally:
            self._streams[caller] -= 1
            if not self._streams[caller]:
                del self._streams[caller]

    @contextmanager
    def call(self, peer: str) -> Iterator[None]:
        """A call over the connection of `peer` while it is served."""
        with self._connections.call(peer):
            yield

    async def send(self, context: Context, message: Any, peer: str) -> None:
        """Send a message; done when all but the last few KB have been read.

        Closes a connection that reads nothing for too long.
        """
        writing = asyncio.ensure_future(context.write(message))
        if not await _is_done(writing, self._limits.send_seconds):
            with self._connections.stuck(peer):
                await asyncio.to_thread(self._connections.close_if_stuck, peer)
                while not await _is_done(writing, self._limits.send_seconds):
                    await asyncio.to_thread(self._connections.close_if_stuck, peer)
        writing.result()

    async def _read(self, context: Context, seconds: float) -> Any:
        reading = asyncio.ensure_future(context.read())
        if not await _is_done(reading, seconds):
            raise _too_slow(self._limits.receive_seconds)
        return _message(reading)

    @contextmanager
    def _places_of(self, caller: Hashable) -> Iterator[asyncio.Semaphore]:
        """The caller's slots; dropped when unused."""
        own = self._own_places.setdefault(caller, asyncio.Semaphore(self._limits.per_caller))
        self._users[caller] += 1
        try:
            yield own
        finally:
            self._users[caller] -= 1
            if not self._users[caller]:
                del self._users[caller], self._own_places[caller]

    @asynccontextmanager
    async def _place(self, caller: Hashable) -> AsyncIterator[None]:
        with self._places_of(caller) as own:
            await self._take_place(own)
            try:
                yield
            finally:
                self._places.release()
                own.release()

    async def _take_place(self, own: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(self._limits.receive_seconds):
                await own.acquire()
                try:
                    await self._places.acquire()
                except BaseException:
                    own.release()
                    raise
        except TimeoutError:
            raise QueueFull(
                "too many messages are being received; retry later",
                korean="지금 받고 있는 요청이 너무 많습니다. 잠시 후 다시 시도하세요.",
            ) from None


async def until_idle(messages: AsyncIterator[T], seconds: float, is_busy: Callable[[], bool]) -> AsyncGenerator[T]:
    """The messages of a stream, as they come.

    is_busy: tells whether something is being done for the caller, who may then wait with the next one.
    Raises `DeadlineExceeded` when none has come for about `seconds` while nothing was done.
    """
    while True:
        reading, idle_halves = asyncio.ensure_future(_next(messages)), 0
        while not await _is_done(reading, seconds / 2):
            idle_halves = 0 if is_busy() else idle_halves + 1
            if idle_halves == 2:
                raise _too_slow(seconds)
        if (message := _message(reading)) is None:
            return
        yield message


def _message(reading: asyncio.Future[T]) -> T:
    try:
        return reading.result()
    except DecodeError:
        raise InvalidArgument("the request is not a valid message of this RPC") from None


async def _next(messages: AsyncIterator[T]) -> T | None:
    return await anext(messages, None)


async def _is_done(work: asyncio.Future[Any], seconds: float) -> bool:
    """Whether `work` ends within so many seconds.

    If not, it continues, and its error is dropped.
    """
    work.add_done_callback(_heard)
    await asyncio.wait({work}, timeout=seconds)
    return work.done()


def _heard(work: asyncio.Future[Any]) -> None:
    if not work.cancelled():
        work.exception()


def _too_slow(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the request was not received within {seconds:g} s; send it faster, or a smaller picture",
        korean=f"요청을 {seconds:g}초 안에 모두 받지 못했습니다. 연결을 확인하거나 이미지를 줄여 보내 주세요.",
    )
