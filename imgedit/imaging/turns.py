"""Threads that serve callers in turn, so that none waits for all work of another."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class _Piece:
    work: Callable[[], Any]
    result: Future[Any]

    def do(self) -> None:
        if not self.result.set_running_or_notify_cancel():
            return
        try:
            self.result.set_result(self.work())
        except BaseException as error:  # noqa: BLE001  # the caller who waits for the result raises it
            self.result.set_exception(error)


class Turns:
    """Runs up to `threads` jobs at once, and up to `per_caller` of one caller.

    After a job of one caller comes the oldest job of the caller who has waited longest.
    """

    def __init__(self, threads: int, per_caller: int, name: str) -> None:
        self._per_caller = per_caller
        self._waiting: OrderedDict[Hashable, deque[_Piece]] = OrderedDict()
        self._running: dict[Hashable, int] = {}
        self._news = threading.Condition()
        self._is_closed = False
        self._most_threads = threads
        self._name = name
        self._threads: list[threading.Thread] = []

    def submit(self, caller: Hashable, work: Callable[[], T]) -> Future[T]:
        """Run `work` in the caller's turn.

        A job cancelled before its turn is skipped.
        """
        result: Future[T] = Future()
        with self._news:
            if self._is_closed:
                raise RuntimeError("closed: no more work is taken")
            self._waiting.setdefault(caller, deque()).append(_Piece(work, result))
            self._news.notify()
            if len(self._threads) < self._most_threads:
                self._start_thread()
        return result

    def close(self) -> None:
        """Accept no more work, cancel waiting jobs, and wait for running ones."""
        with self._news:
            self._is_closed = True
            for piece in itertools.chain.from_iterable(self._waiting.values()):
                piece.result.cancel()
            self._waiting.clear()
            self._news.notify_all()
        for thread in self._threads:
            thread.join()

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            caller, piece = taken
            try:
                piece.do()
            finally:
                self._give_back(caller)

    def _take(self) -> tuple[Hashable, _Piece] | None:
        """The next job and its caller; blocks until there is one.

        None after the end.
        """
        with self._news:
            while not self._is_closed:
                caller = next((one for one in self._waiting if self._running.get(one, 0) < self._per_caller), None)
                if caller is None:
                    self._news.wait()
                    continue
                pieces = self._waiting.pop(caller)
                piece = pieces.popleft()
                if pieces:
                    self._waiting[caller] = pieces  # after the others
                self._running[caller] = self._running.get(caller, 0) + 1
                return caller, piece
        return None

    def _give_back(self, caller: Hashable) -> None:
        with self._news:
            self._running[caller] -= 1
            if not self._running[caller]:
                del self._running[caller]
            self._news.notify()
