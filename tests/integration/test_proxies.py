"""An environment proxy is used for distant servers, and for near ones on request."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from imgedit.addresses import is_near
from imgedit.channels import TlsFiles, open_channel
from imgedit.client import EditClient
from imgedit.local import doctor, supervisor
from imgedit.local.ports import Ports
from imgedit.local.supervisor import Program, Stack, is_serving, serving_fault
from imgedit.sync_client import SyncEditClient

pytestmark = pytest.mark.slow

VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")


class Proxy:
    """Listens, notes the first line of what it is asked, and hangs up."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://user:secret@127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(1024).split(b"\r\n")[0])

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture(params=["lower", "upper"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that every variable of the environment names, and no exceptions."""
    proxy = Proxy()
    for name in (*VARIABLES, "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in VARIABLES:
        monkeypatch.setenv(name if request.param == "lower" else name.upper(), proxy.address)
    yield proxy
    proxy.close()


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server that says SERVING."""
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    servicer.set("imgedit.v1.EditService", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(0).wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "dns:///localhost"])
def test_no_probe_and_no_client_asks_a_proxy_for_this_machine(proxy: Proxy, server: int, host: str) -> None:
    assert is_serving(f"{host}:{server}", timeout=20)
    with SyncEditClient(f"{host}:{server}", retries=0) as client:
        assert client.is_serving(timeout=20)

    async def by_asyncio() -> bool:
        async with EditClient(f"{host}:{server}", token="t", retries=0) as client:
            return await client.is_serving(timeout=20)

    assert host.startswith("dns:") or asyncio.run(by_asyncio())
    assert proxy.asked == []


@pytest.mark.parametrize("proxy", ["lower"], indirect=True)
@pytest.mark.parametrize(
    ("target", "use_proxy"), [("edits.example.com:443", None), ("localhost:1", True), ("127.0.0.1:1", True)]
)
def test_what_is_far_and_what_is_asked_for_goes_through_the_proxy(
    proxy: Proxy, target: str, use_proxy: bool | None
) -> None:
    async def connect() -> None:
        for tls in (None, TlsFiles()):
            async with open_channel(target, tls=tls, use_proxy=use_proxy) as channel:
                with pytest.raises(grpc.aio.AioRpcError):
                    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)

    asyncio.run(connect())
    assert len(proxy.asked) >= 2
    assert {line.split()[0] for line in proxy.asked} == {b"CONNECT"}


@pytest.mark.parametrize("proxy", ["lower"], indirect=True)
def test_a_client_can_be_told_to_use_no_proxy(proxy: Proxy) -> None:
    async def connect() -> None:
        async with open_channel("no-such-host.example.com:443", use_proxy=False) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)

    asyncio.run(connect())
    assert proxy.asked == []


def test_near_is_this_machine_a_private_address_and_a_name_of_a_cluster() -> None:
    near = (
        "127.0.0.1:1", "localhost:1", "LOCALHOST:1", "[::1]:1", "ipv4:127.0.0.1:1", "unix:/tmp/x", "fill:50053",
        "dns:///imgedit-fill:50053", "imgedit-fill.imgedit.svc:1", "imgedit-fill.imgedit.svc.cluster.local:1",
        "imgedit-fill.imgedit.svc.cluster.local.:1", "10.1.2.3:1", "192.168.0.9:1", "[fd00::1]:1", "gpu.internal:1",
    )  # fmt: skip
    far = ("edits.example.com:443", "8.8.8.8:1", "dns:///edits.example.com:1", "127.0.0.1.example.com:1", "svc.com:1")
    assert [address for address in near if not is_near(address)] == []
    assert [address for address in far if is_near(address)] == []
    assert not is_near("ipv4:127.0.0.1:1,8.8.8.8:1")


def test_the_doctor_names_the_proxies_without_their_passwords() -> None:
    environment = {"https_proxy": "http://user:secret@proxy.example.com:3128", "NO_PROXY": "localhost"}
    [finding] = doctor.proxies(environment)
    assert finding.state == "NOTE"
    assert finding.found == "https_proxy=http://…@proxy.example.com:3128, NO_PROXY=localhost"
    assert "not used for this machine" in finding.advice
    assert list(doctor.proxies({"no_proxy": "*"})) == []


def test_a_wait_says_what_it_waits_for_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = Ports.free()
    address = f"127.0.0.1:{ports.base}"
    sleeping = Program("edge", [sys.executable, "-c", "import time; time.sleep(60)"], {}, address)
    monkeypatch.setattr(Stack, "_programs", lambda self: iter([sleeping]))
    monkeypatch.setattr(supervisor, "REPORT_SECONDS", 0)
    running = Stack(ports, tmp_path, {})
    running.start()
    told: list[str] = []
    try:
        silence = rf"nothing in the log of edge for 1 s: edge \({address}: UNAVAILABLE"
        with pytest.raises(supervisor.StackError, match=silence):
            list(running.wait_until_serving(1, told.append))
    finally:
        running.stop()
    assert told[0].startswith(f"edge ({address}: UNAVAILABLE")


def test_a_fault_names_the_state_that_a_service_is_in() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        assert serving_fault(address, timeout=20) == f"{address}: NOT_SERVING"
    finally:
        server.stop(0).wait()
