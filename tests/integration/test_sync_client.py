"""The client for plain code where it could hang, and keywords that nobody knows."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from imgedit import sync_client
from imgedit.client import EditClient
from imgedit.errors import DeadlineExceeded
from imgedit.request import edit_request
from imgedit.sync_client import SyncEditClient
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from tests.integration.edit_server import EditServer, edit_server

ROOT = Path(__file__).parents[2]

FORKING = """
import os, sys
from imgedit.errors import ForkError
from imgedit.sync_client import SyncEditClient

client = SyncEditClient(sys.argv[1])
assert client.experiments()
child = os.fork()
if child == 0:
    for use in (client.experiments, client.is_serving, lambda: client.edit(b"x", experiment="e"),
                lambda: list(client.edit_batch([])), lambda: SyncEditClient(sys.argv[1])):
        try:
            use()
        except ForkError as error:
            assert "was forked from one that had used gRPC" in error.message
        else:
            os._exit(1)
    client.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert client.experiments()
client.close()
"""

FORKING_FIRST = """
import os, sys
from imgedit.sync_client import SyncEditClient

child = os.fork()
if child == 0:
    with SyncEditClient(sys.argv[1]) as client:
        os._exit(0 if client.experiments() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.fixture
def server() -> Iterator[EditServer]:
    with edit_server() as server:
        yield server


@pytest.mark.parametrize("code", [FORKING, FORKING_FIRST], ids=["used before the fork", "not used before"])
def test_a_forked_process_is_noticed_and_does_not_hang(server: EditServer, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, server.address], cwd=ROOT, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_a_callback_that_blocks_does_not_outlast_the_timeout(
    server: EditServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_client, "HELD_UP_SECONDS", 0.1)
    go_on = threading.Event()
    with SyncEditClient(server.address) as client:
        try:
            with pytest.raises(DeadlineExceeded, match=r"within 1 s: the client's thread is held up"):
                client.edit(b"x", experiment="e", timeout=1, on_event=lambda _: bool(go_on.wait(60)) and None)
            with pytest.raises(DeadlineExceeded):
                client.is_serving(timeout=0.1)
        finally:
            go_on.set()


def test_a_callback_that_calls_the_client_is_told_so(server: EditServer) -> None:
    with SyncEditClient(server.address) as client, pytest.raises(RuntimeError, match="a callback of the client cannot"):
        client.edit(b"x", experiment="e", on_event=lambda _: bool(client.cancel("x")) and None)


def test_a_closed_client_says_so(server: EditServer) -> None:
    client = SyncEditClient(server.address)
    events = client.edit_stream(edit_request(b"x", experiment="e"))
    assert next(events)
    client.close()
    client.close()
    for call in (
        client.experiments,
        client.is_serving,
        lambda: client.edit(b"x", experiment="e"),
        lambda: next(events),
    ):
        with pytest.raises(RuntimeError, match=r"^the client is closed$"):
            call()


def test_closing_ends_the_call_of_another_thread(server: EditServer) -> None:
    begun, go_on = threading.Event(), threading.Event()
    server.before = lambda: bool(go_on.wait(60)) and None
    client = SyncEditClient(server.address)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.edit, b"x", experiment="e", on_event=lambda _: begun.set())
        try:
            assert begun.wait(60)
            client.close()
            with pytest.raises(RuntimeError, match="the client is closed; this call had not ended"):
                call.result(60)
        finally:
            go_on.set()


def test_requests_that_come_slowly_do_not_hold_up_the_answers(server: EditServer) -> None:
    has_answer = threading.Event()

    def requests() -> Iterator[edit_pb2.EditRequest]:
        yield edit_request(b"x", experiment="e", request_id="first")
        assert has_answer.wait(60)
        yield edit_request(b"x", experiment="e", request_id="second")

    found = []
    with SyncEditClient(server.address) as client:
        for event in client.edit_batch(requests(), timeout=60):
            found.append(event.request_id)
            has_answer.set()
    assert found == ["first", "second"]


def test_a_list_without_end_ends_with_its_timeout() -> None:
    class Endless(edit_pb2_grpc.EditServiceServicer):
        def ListExperiments(self, request: Any, context: Any) -> edit_pb2.ListExperimentsResponse:
            time.sleep(0.1)
            return edit_pb2.ListExperimentsResponse(next_page_token="more")

    server = grpc.server(ThreadPoolExecutor(2))
    edit_pb2_grpc.add_EditServiceServicer_to_server(Endless(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with SyncEditClient(address, retries=0) as client, pytest.raises(DeadlineExceeded):
            client.experiments(timeout=1)
    finally:
        server.stop(0).wait()


async def _async_call(call: Callable[[EditClient], Any]) -> None:
    async with EditClient("127.0.0.1:1") as client:
        call(client)


UNKNOWN: list[tuple[Callable[[Any], Any], str]] = [
    (lambda client: client.edit(b"x", experiment="e", stepz=5), r"edit\(\).* 'stepz'; did you mean 'steps'\?"),
    (lambda client: client.edit(b"x", experiment="e", mask_image=b""), r"'mask_image'; did you mean 'mask'\?"),
    (lambda client: client.edit(b"x", experiment="e", time_out=5), r"'time_out'; did you mean 'timeout'\?"),
    (lambda client: client.edit_batch([], timout=5), r"edit_batch\(\).* 'timout'; did you mean 'timeout'\?"),
    (lambda client: client.edit_stream(None, qqq=5), r"edit_stream\(\).* 'qqq'; it takes request, timeout"),
    (lambda client: client.cancel("x", timeouts=5), r"did you mean 'timeout'\?"),
    (lambda client: client.experiments(timeouts=5), r"did you mean 'timeout'\?"),
    (lambda client: client.is_serving(timeouts=5), r"did you mean 'timeout'\?"),
]


@pytest.mark.parametrize(("call", "words"), UNKNOWN)
async def test_a_keyword_that_nobody_knows_is_refused_with_the_nearest(call: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        await _async_call(call)
    with SyncEditClient("127.0.0.1:1") as client, pytest.raises(TypeError, match=words):
        call(client)


@pytest.mark.parametrize("make", [EditClient, SyncEditClient])
async def test_a_client_refuses_an_option_that_nobody_knows(make: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"'tokn'; did you mean 'token'\?"):
        make("127.0.0.1:1", tokn="x")
    with pytest.raises(TypeError, match=r"'ca_file'"):
        make("127.0.0.1:1", ca_file="x")


def test_a_request_refuses_an_option_that_nobody_knows_and_needs_an_experiment() -> None:
    make: Callable[..., Any] = edit_request
    with pytest.raises(TypeError, match=r"edit_request\(\).* 'guidance'; did you mean 'guidance_scale'\?"):
        make(b"x", experiment="e", guidance=5)
    with pytest.raises(TypeError, match="needs the option 'experiment'"):
        make(b"x", prompt="p")
