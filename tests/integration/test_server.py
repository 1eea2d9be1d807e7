"""The common server with real gRPC.

Errors over the wire, request ids, logs, metrics, health, drain.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from imgedit import EditClient
from imgedit.call_errors import error_of
from imgedit.errors import (
    DeadlineExceeded,
    ImgeditError,
    InternalError,
    RequestTooLarge,
    ServiceUnavailable,
    SettingsError,
    by_reason,
)
from imgedit.local.ports import Ports
from imgedit.local.supervisor import is_serving
from imgedit.v1 import edit_pb2, edit_pb2_grpc, progress_pb2
from services.common import logs
from services.common import server as server_module
from services.common.server import RunningServer, Service
from services.common.settings import ServiceSettings, load_settings
from tests import http2

Handler = Callable[[edit_pb2.EditRequest], Awaitable[edit_pb2.EditResponse]]


class ServerSettings(ServiceSettings):
    model_config = SettingsConfigDict(frozen=True, env_prefix="IMGEDIT_TEST_")
    service = "test"
    port: int = Field(0)
    metrics_port: int = Field(0)


class Servicer(edit_pb2_grpc.EditServiceServicer):
    """Answers with whatever the test's handler does."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def Edit(self, request: edit_pb2.EditRequest, context: object) -> edit_pb2.EditResponse:
        return await self._handler(request)

    async def EditStream(self, request: edit_pb2.EditRequest, context: object) -> AsyncIterator[edit_pb2.EditEvent]:
        yield edit_pb2.EditEvent(queued=progress_pb2.Queued(position=1))
        yield edit_pb2.EditEvent(result=await self._handler(request))


@asynccontextmanager
async def serving(
    handler: Handler, *, start: Callable[[], Awaitable[None]] | None = None, **settings: object
) -> AsyncIterator[RunningServer]:
    def register(server: grpc.aio.Server) -> None:
        edit_pb2_grpc.add_EditServiceServicer_to_server(Servicer(handler), server)

    service = Service(("imgedit.v1.EditService",), register, **({"start": start} if start else {}))
    options: dict[str, object] = {"drain_seconds": 0, "grace_seconds": 5, **settings}
    server = RunningServer(service, ServerSettings(**options))  # type: ignore[arg-type]
    await server.start()
    try:
        yield server
    finally:
        await server.drain()


def raising(error: Exception) -> Handler:
    async def handle(request: edit_pb2.EditRequest) -> edit_pb2.EditResponse:
        raise error

    return handle


async def answering(request: edit_pb2.EditRequest) -> edit_pb2.EditResponse:
    return edit_pb2.EditResponse(success=True)


def stub(channel: grpc.aio.Channel) -> edit_pb2_grpc.EditServiceAsyncStub:
    return edit_pb2_grpc.EditServiceStub(channel)


async def failure(port: int, request: edit_pb2.EditRequest | None = None, **options: object) -> ImgeditError:
    sizes = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=sizes) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(channel).Edit(request or edit_pb2.EditRequest(), **options)
        return error_of(caught.value, "the test server")


@pytest.mark.parametrize("cls", [cls for _, cls in sorted(by_reason().items())])
async def test_the_client_catches_the_class_that_the_servicer_raised(cls: type[ImgeditError]) -> None:
    async with serving(raising(cls("what happened"))) as server:
        error = await failure(server.port)
        assert type(error) is cls
        assert error.message == "what happened"
        assert error.request_id
        async with EditClient(f"127.0.0.1:{server.port}") as client:
            with pytest.raises(cls):
                await client.edit(b"x", experiment="e", prompt="p", timeout=5)  # some are tried again until then


async def test_an_unknown_failure_tells_the_id_and_nothing_of_python(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(raising(KeyError("secret detail"))) as server:
        with caplog.at_level(logging.ERROR):
            error = await failure(server.port)
    assert type(error) is InternalError
    assert error.request_id is not None
    assert error.request_id in error.message
    assert "secret" not in error.message
    assert "KeyError" not in error.message
    assert "secret detail" in caplog.text


async def test_a_request_id_is_taken_from_the_caller_when_it_is_well_formed() -> None:
    seen: list[str] = []

    async def note(request: edit_pb2.EditRequest) -> edit_pb2.EditResponse:
        seen.append(logs.request_id.get())
        return edit_pb2.EditResponse()

    async with (
        serving(note) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        call = stub(channel).Edit(edit_pb2.EditRequest(request_id="field.1"))
        await call
        assert dict(await call.trailing_metadata())["x-imgedit-request-id"] == "field.1"
        await stub(channel).Edit(edit_pb2.EditRequest(), metadata=(("x-imgedit-request-id", "metadata-2"),))
        await stub(channel).Edit(edit_pb2.EditRequest(), metadata=(("x-imgedit-request-id", "not ok; drop table"),))
    assert seen[:2] == ["field.1", "metadata-2"]
    assert len(seen[2]) == 32


async def test_a_large_request_is_refused_by_the_handler_with_its_field() -> None:
    async with serving(answering, max_request_bytes=1000) as server:
        error = await failure(server.port, edit_pb2.EditRequest(prompt="p", reference_images=[b"x" * 800, b"x" * 800]))
    assert type(error) is RequestTooLarge
    assert error.violations[0].field == "reference_images"


async def test_a_request_over_the_transport_limit_has_the_code_alone() -> None:
    async with serving(answering, max_receive_bytes=2000) as server:
        error = await failure(server.port, edit_pb2.EditRequest(input_image=b"x" * 5000))
    assert type(error) is RequestTooLarge
    assert not error.violations


async def test_every_call_is_counted_and_logged_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("test", "info")
    async with serving(answering) as server, EditClient(f"127.0.0.1:{server.port}") as client:
        await client.edit(b"x", experiment="e", prompt='forged "line"\n{"code": "OK"}', request_id="count-me")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    [line] = [line for line in lines if line["message"] == "rpc" and line["request_id"] == "count-me"]
    assert (line["rpc"], line["code"], line["service"]) == ("EditStream", "OK", "test")
    assert "forged" not in json.dumps(lines)
    labels = {"service": "test", "rpc": "EditStream", "code": "OK"}
    assert (REGISTRY.get_sample_value("imgedit_rpc_duration_seconds_count", labels) or 0) >= 1
    assert REGISTRY.get_sample_value("imgedit_rpc_in_flight", {"service": "test", "rpc": "EditStream"}) == 0


async def test_a_passed_deadline_is_told_from_a_client_that_left(caplog: pytest.LogCaptureFixture) -> None:
    begun = asyncio.Event()

    async def slow(request: edit_pb2.EditRequest) -> edit_pb2.EditResponse:
        begun.set()
        await asyncio.Event().wait()
        return edit_pb2.EditResponse()

    with caplog.at_level(logging.INFO, logger="imgedit.access"):
        async with serving(slow) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            assert type(await failure(server.port, timeout=0.2)) is DeadlineExceeded
            begun.clear()
            call = stub(channel).Edit(edit_pb2.EditRequest())
            await begun.wait()
            call.cancel()
            codes: list[str] = []
            for _ in range(100):
                codes = [record.__dict__["code"] for record in caplog.records if record.message == "rpc"]
                if len(codes) == 2:
                    break
                await asyncio.sleep(0.05)
    assert codes == ["DEADLINE_EXCEEDED", "CANCELLED"]


async def health(port: int, service: str = "") -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
        return int(answer.status)


def probe(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


async def test_health_and_readiness_wait_for_the_model() -> None:
    loading, loaded = asyncio.Event(), asyncio.Event()

    async def load_model() -> None:
        loading.set()
        await loaded.wait()

    def register(server: grpc.aio.Server) -> None:
        edit_pb2_grpc.add_EditServiceServicer_to_server(Servicer(answering), server)

    service = Service(("imgedit.v1.EditService",), register, load_model)
    server = RunningServer(service, ServerSettings(drain_seconds=0))
    starting = asyncio.create_task(server.start())
    await loading.wait()
    assert await health(server.port) == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await asyncio.to_thread(probe, server.metrics_port, "/readyz") == 503
    assert await asyncio.to_thread(probe, server.metrics_port, "/livez") == 200
    loaded.set()
    await starting
    for name in ("", "imgedit.v1.EditService"):
        assert await health(server.port, name) == health_pb2.HealthCheckResponse.SERVING
    assert await asyncio.to_thread(probe, server.metrics_port, "/readyz") == 200
    await server.drain()


async def test_draining_says_so_first_and_finishes_what_runs() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def slow(request: edit_pb2.EditRequest) -> edit_pb2.EditResponse:
        begun.set()
        await may_end.wait()
        return edit_pb2.EditResponse(success=True)

    async with serving(slow, drain_seconds=2) as server:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call = asyncio.ensure_future(stub(channel).Edit(edit_pb2.EditRequest()))
            await begun.wait()
            draining = asyncio.create_task(server.drain())
            await asyncio.sleep(0)  # the first thing that draining does
            assert await health(server.port) == health_pb2.HealthCheckResponse.NOT_SERVING
            may_end.set()
            assert (await call).success
            await draining
        assert type(await failure(server.port, timeout=2)) is ServiceUnavailable


async def test_a_port_in_use_is_named() -> None:
    async with serving(answering) as server:
        second = RunningServer(Service(("imgedit.v1.EditService",), lambda _: None), ServerSettings(port=server.port))
        with pytest.raises(SettingsError, match=str(server.port)):
            await second.start()
        await second.abandon()


async def test_pings_of_a_keepalive_client_do_not_end_a_long_call() -> None:
    async def slow(request: edit_pb2.EditRequest) -> edit_pb2.EditResponse:
        await asyncio.sleep(2)
        return edit_pb2.EditResponse(success=True)

    eager = [
        ("grpc.keepalive_time_ms", 150),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    async with (
        serving(slow) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=eager) as channel,
    ):
        assert (await stub(channel).Edit(edit_pb2.EditRequest(), timeout=20)).success


def test_a_bad_setting_names_the_variable_and_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGEDIT_TEST_PORT", "seventy")
    with pytest.raises(SettingsError, match=r"IMGEDIT_TEST_PORT.*seventy"):
        load_settings(ServerSettings)


def test_a_misspelt_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGEDIT_TEST_PROT", "1")
    with pytest.raises(SettingsError, match="IMGEDIT_TEST_PROT: no such setting"):
        load_settings(ServerSettings)


async def test_the_event_loop_answers_while_a_handler_waits() -> None:
    may_end = threading.Event()

    async def slow(request: edit_pb2.EditRequest) -> edit_pb2.EditResponse:
        await asyncio.to_thread(may_end.wait, 30)
        return edit_pb2.EditResponse(success=True)

    async with serving(slow) as server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = asyncio.ensure_future(stub(channel).Edit(edit_pb2.EditRequest()))
        checks = health_pb2_grpc.HealthStub(channel)
        await checks.Check(health_pb2.HealthCheckRequest())
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            await checks.Check(health_pb2.HealthCheckRequest())
            seconds.append(time.perf_counter() - started)
        assert not call.done()
        may_end.set()
        assert sorted(seconds)[2] < 0.5
        assert (await call).success


@pytest.mark.parametrize(("is_told", "exit_code"), [(True, 0), (False, 1)])
async def test_a_process_ends_with_its_grpc_server_told_or_not(tmp_path: Path, is_told: bool, exit_code: int) -> None:
    ports = Ports.free()
    environment = {
        **os.environ,
        "IMGEDIT_ORCHESTRATOR_PORT": str(ports.base),
        "IMGEDIT_ORCHESTRATOR_METRICS_PORT": str(ports.metrics_base),
        "IMGEDIT_ORCHESTRATOR_DRAIN_SECONDS": "0",
    }
    command = [sys.executable, "-m", "services.orchestrator"]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
    try:
        async with asyncio.timeout(120):
            while not await asyncio.to_thread(is_serving, ports.address("orchestrator")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            if is_told:
                process.terminate()
            else:
                await http2.call(ports.base, b"/imgedit.v1.EditService/Edit?x=\xff")
            assert await process.wait() == exit_code
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert ("gRPC's server ended by itself" in (tmp_path / "log").read_text()) is not is_told


async def test_a_service_that_can_serve_nothing_any_more_ends_so_that_it_is_started_again() -> None:
    lost, stopped = asyncio.Event(), asyncio.Event()

    async def stop() -> None:
        stopped.set()

    async def ended_by_itself() -> None:
        await lost.wait()

    service = Service((), lambda _: None, stop=stop, ended_by_itself=ended_by_itself)
    settings = ServerSettings(drain_seconds=0.5)
    running = asyncio.create_task(server_module._serve(service, settings, asyncio.Event()))
    await asyncio.sleep(0.3)
    assert not running.done()
    lost.set()
    assert await asyncio.wait_for(running, 10) == 1
    assert stopped.is_set()


COMPUTING = """
import asyncio, atexit, sys, time
from pydantic_settings import SettingsConfigDict
from services.common.server import run_process
from services.common.settings import ServerSettings
from services.common.worker import Worker

class Settings(ServerSettings):
    model_config = SettingsConfigDict(frozen=True, env_prefix="IMGEDIT_TEST_")
    service = "test"

async def serve(made, settings, stop):
    worker = Worker("test", max_waiting=1)
    computing = asyncio.ensure_future(worker.run(lambda: time.sleep({seconds})))
    await asyncio.wait([computing], timeout=0.1)
    worker.close()
    worker._thread.join(0 if {seconds} > 1 else None)
    return 0

atexit.register(lambda: print("torn down", flush=True))
sys.exit(run_process(Settings, lambda settings: None, serve))
"""


@pytest.mark.parametrize(("seconds", "ending"), [(300, ""), (0, "torn down\n")])
def test_a_process_is_not_torn_down_under_a_thread_that_computes(seconds: int, ending: str) -> None:
    """A large model that is half loaded, for instance: torch would abort the process."""
    command = [sys.executable, "-c", COMPUTING.format(seconds=seconds)]
    environment = {**os.environ, "IMGEDIT_TEST_PORT": "0", "IMGEDIT_TEST_METRICS_PORT": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, ending), done.stderr
