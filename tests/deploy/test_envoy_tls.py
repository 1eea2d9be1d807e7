"""Envoy with certificates.

The edge towards callers, the sidecar towards the services behind it.
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import httpx2
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from imgedit.local import gateway
from imgedit.local.gateway import Address, Mutual, Tls
from imgedit.local.ports import Ports, is_free
from imgedit.local.supervisor import is_serving
from tests.integration.authority import Authority, Pair

SERVICES = ("segmentation", "fill", "qwen_edit")


@contextmanager
def running(config: gateway.Config, folder: Path, name: str) -> Iterator[Path]:
    """Envoy with this configuration; yields its log."""
    log = folder / f"{name}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(gateway.command(config, folder / f"{name}.json"), stdout=sink, stderr=sink)
    try:
        yield log
    finally:
        process.terminate()
        process.wait(20)


def ports(count: int) -> range:
    first = Ports.free().base
    return range(first, first + count)


def wait_for(condition: Callable[[], object], log: Path, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def serial(port: int, authority: Authority) -> int:
    """The serial number of the certificate that is shown there.

    0 while nobody answers.
    """
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with (
        suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as secured,
    ):
        return int(secured.getpeercert()["serialNumber"], 16)
    return 0


def put(pair: Pair, folder: Path) -> None:
    """Lay certificate and key where Envoy looks, each in one move."""
    for source, name in ((pair.key, "tls.key"), (pair.certificate, "tls.crt")):
        shutil.copy(source, folder / f".{name}")
        (folder / f".{name}").replace(folder / name)


def test_the_edge_speaks_tls_and_shows_a_renewed_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    shown = tmp_path / "shown"
    shown.mkdir()
    put(authority.issue("edge"), shown)
    public, metrics, admin = (Address(port) for port in ports(3))
    config = gateway.edge(
        public=public,
        metrics=metrics,
        admin=admin,
        orchestrators=[Address(1)],
        tls=(Tls(shown / "tls.crt", shown / "tls.key"), tmp_path),
    )
    with running(config, tmp_path, "edge") as log:
        wait_for(lambda: serial(public.port, authority), log)
        before = serial(public.port, authority)
        context = ssl.create_default_context(cafile=str(authority.certificate))
        with httpx2.Client(verify=context) as client:
            assert client.get(f"https://{public}/healthz").json() == {"status": "SERVING"}
        with pytest.raises(httpx2.HTTPError):
            httpx2.get(f"http://{public}/healthz")
        put(authority.issue("edge"), shown)
        wait_for(lambda: serial(public.port, authority) not in (0, before), log)


@contextmanager
def service_behind_mutual_tls(authority: Authority, name: str) -> Iterator[int]:
    """A server of the health service that asks callers for a certificate.

    Yields its port.
    """
    pair = authority.issue(name)
    credentials = grpc.ssl_server_credentials(
        [(pair.key.read_bytes(), pair.certificate.read_bytes())],
        root_certificates=authority.certificate.read_bytes(),
        require_client_auth=True,
    )
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None)


@contextmanager
def sidecar(folder: Path, own: Pair, trusted: Path, name: str, port: int) -> Iterator[tuple[str, Path]]:
    """A sidecar before a service of this name.

    Yields where it listens for fill, and its log.
    """
    folder.mkdir()
    for file, content in gateway.secret_files(own.certificate, own.key, trusted).items():
        (folder / file).write_text(json.dumps(content))
    numbers = ports(5)
    listeners = {service: Address(number) for service, number in zip(SERVICES, numbers, strict=False)}
    config = gateway.sidecar(
        listeners=listeners,
        replicas={service: [Address(port)] for service in SERVICES},
        metrics=Address(numbers[3]),
        admin=Address(numbers[4]),
        upstream=Mutual(folder, True, dict.fromkeys(SERVICES, name)),
    )
    with running(config, folder, "sidecar") as log:
        with suppress(AssertionError):
            wait_for(lambda: not is_free(numbers[1]), log)
        yield str(listeners["fill"]), log


def test_the_sidecar_shows_its_certificate_and_reaches_the_service(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    own = authority.issue("imgedit-orchestrator")
    with (
        service_behind_mutual_tls(authority, "imgedit-fill") as port,
        sidecar(tmp_path / "good", own, authority.certificate, "imgedit-fill", port) as (target, log),
    ):
        wait_for(lambda: is_serving(target), log)


@pytest.mark.parametrize("fault", ["stranger", "wrong name"])
def test_the_sidecar_and_a_service_that_do_not_know_each_other_do_not_speak(tmp_path: Path, fault: str) -> None:
    authority, other = Authority(tmp_path, "ca"), Authority(tmp_path, "other")
    own = (other if fault == "stranger" else authority).issue("imgedit-orchestrator")
    expected = "imgedit-qwen-edit" if fault == "wrong name" else "imgedit-fill"
    with (
        service_behind_mutual_tls(authority, "imgedit-fill") as port,
        sidecar(tmp_path / fault, own, authority.certificate, expected, port) as (target, _),
    ):
        time.sleep(3)
        assert not is_serving(target)
