"""Stacks in the background: their records, status, end and logs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from typer.testing import CliRunner, Result

from imgedit.cli.exit_codes import ExitCode
from imgedit.cli.main import app
from imgedit.local import log_rotation, running
from imgedit.local.running import Record
from tests.integration.edit_server import edit_server

pytestmark = pytest.mark.slow

STACK = """
import os, signal, sys, time
from imgedit.local import running

def end(*_):
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
record = running.Record(int(sys.argv[1]), os.getpid(), time.time(), "/logs", {"orchestrator": sys.argv[2]}, True)
with running.held_record(record):
    print("held", flush=True)
    time.sleep(600)
"""
"""A process that holds a record as `imgedit up` does, and ends by SIGTERM."""

UP = """
import sys, time
from pathlib import Path
from rich.console import Console
from imgedit.cli.machine import background

process = background.fork(Path(sys.argv[1]) / "up.log")
if process.is_child:
    print("SERVING [fill]", flush=True)
    if sys.argv[2] == "fails":
        sys.exit(1)
    if sys.argv[2] == "hangs":
        time.sleep(600)
    process.let_go()
    print("after", flush=True)
    Path(sys.argv[1], "done").touch()
    sys.exit(0)
print("code", background.follow(process, Console(width=200)))
"""


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of this test alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


@contextmanager
def stack(base_port: int, address: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", STACK, str(base_port), address], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def imgedit(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"LANG": "C.UTF-8", "COLUMNS": "200"})


def test_a_stack_is_shown_with_its_health_and_ended_from_elsewhere() -> None:
    with edit_server() as server, stack(41000, server.address) as process:
        shown = imgedit("status")
        assert f"ready: process {process.pid} since" in shown.stdout
        assert server.address in shown.stdout
        [told] = json.loads(imgedit("status", "--json").stdout)["stacks"]
        assert (told["base_port"], told["pid"], told["ready"]) == (41000, process.pid, True)
        assert shown.exit_code == (ExitCode.DONE if told["programs"]["orchestrator"]["serving"] else ExitCode.TRY_LATER)
        ended = imgedit("stop")
        assert (ended.exit_code, ended.stdout) == (0, "stopping …\nstopped\n")
        assert process.wait(30) == 0
    assert running.running_stacks() == []
    assert imgedit("stop").stdout == "nothing runs here\n"
    assert imgedit("status").exit_code == ExitCode.TRY_LATER


class _Ready(BaseHTTPRequestHandler):
    """A program whose readiness is `/ready`, over HTTP."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def http_program() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@contextmanager
def healthy(port: int = 0) -> Iterator[str]:
    """A gRPC server that says SERVING."""
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@pytest.fixture
def as_found(monkeypatch: pytest.MonkeyPatch) -> Callable[[Record], None]:
    return lambda record: monkeypatch.setattr(running, "running_stacks", lambda: [record])


def test_each_program_is_asked_in_the_way_that_it_speaks(as_found: Callable[[Record], None]) -> None:
    with healthy() as grpc_address, http_program() as port:
        http_address = f"127.0.0.1:{port}"
        programs = {"fill": grpc_address, "fill-2": grpc_address, "openai_api": http_address, "studio": http_address}
        ready_at = dict.fromkeys(("openai_api", "studio"), (port, "/ready"))
        # Of a gRPC service the health counts, although it has an HTTP readiness too; of the edge, too, which has none.
        as_found(Record(1, 1, 0, "/logs", {**programs, "edge": grpc_address}, True, {**ready_at, "fill": (1, "/")}))
        shown = imgedit("status")
        assert (shown.exit_code, "(5/5)" in shown.stdout) == (ExitCode.DONE, True)
        as_found(Record(1, 1, 0, "/logs", programs, True, {**ready_at, "openai_api": (port, "/other")}))
        [told] = json.loads(imgedit("status", "--json").stdout)["stacks"]
        assert [name for name, program in told["programs"].items() if not program["serving"]] == ["openai_api"]
        assert told["programs"]["openai_api"]["reason"] == f"port {port} answers /other with 503, not ready"


def test_the_reason_of_a_program_that_does_not_serve_is_told_to_its_end(as_found: Callable[[Record], None]) -> None:
    as_found(Record(1, 1, 0, "/logs", {"fill": "127.0.0.1:1"}, True))
    [told] = json.loads(imgedit("status", "--json").stdout)["stacks"]
    assert told["programs"]["fill"]["reason"].endswith(("refused", "refused)", "exceeded"))


def test_of_several_stacks_one_is_chosen_by_its_port() -> None:
    with stack(41000, "127.0.0.1:1") as one, stack(42000, "127.0.0.1:1") as another:
        refused = imgedit("stop")
        assert (refused.exit_code, "41000, 42000" in refused.stderr) == (ExitCode.USAGE, True)
        assert imgedit("stop", "--base-port", "42000").exit_code == 0
        assert (another.wait(30), one.poll()) == (0, None)
        assert [record.base_port for record in running.running_stacks()] == [41000]


def test_a_port_has_one_stack_and_a_killed_one_leaves_nothing(tmp_path: Path) -> None:
    own = Record(41000, os.getpid(), time.time(), "/logs")
    with stack(41000, "127.0.0.1:1") as process:
        with pytest.raises(running.InUse, match="`imgedit stop` ends it"), running.held_record(own):
            raise AssertionError
        process.kill()
        process.wait()
        assert list(tmp_path.glob("imgedit-up-*"))
        assert running.running_stacks() == []
        with running.held_record(own):
            pass
    assert not list(tmp_path.glob("imgedit-up-*"))


def test_a_record_of_another_kind_is_none(tmp_path: Path) -> None:
    name = f"imgedit-up-{os.getuid()}-1.json"
    (tmp_path / name).symlink_to("/etc/passwd")
    (tmp_path / name.replace("-1", "-2")).write_text("not JSON")
    assert running.running_stacks() == []
    with pytest.raises(OSError, match="symbolic links"), running.held_record(Record(1, 1, 0, "/")):
        raise AssertionError


def in_background(folder: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", UP, str(folder), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_terminal_comes_back_when_all_serve_and_the_rest_is_logged(tmp_path: Path) -> None:
    said, complaints = in_background(tmp_path, "serves").communicate(timeout=60)
    assert said == "SERVING [fill]\ncode None\n"
    assert not complaints
    _wait_for(tmp_path / "done")
    assert (tmp_path / "up.log").read_text() == "after\n"


def test_a_stack_that_does_not_start_ends_the_command_with_its_words(tmp_path: Path) -> None:
    said, _ = in_background(tmp_path, "fails").communicate(timeout=60)
    assert said == f"SERVING [fill]\ncode {ExitCode.FAILED}\n"


def test_ctrl_c_while_it_starts_ends_what_is_in_the_background(tmp_path: Path) -> None:
    process = in_background(tmp_path, "hangs")
    assert process.stdout is not None
    assert process.stdout.readline() == "SERVING [fill]\n"
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=60)  # to the end of the pipe, which the other holds too
    assert said == f"code {ExitCode.INTERRUPTED}\n"
    assert not complaints


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_log_is_kept_within_bounds_and_loses_no_line(tmp_path: Path) -> None:
    log = tmp_path / "fill.log"
    with log.open("ab", buffering=0) as written:  # as the services hold theirs
        for number in range(60):
            written.write(f"{number}\n".encode() * 10)
            log_rotation.rotate(log, max_bytes=100, kept=3)
    parts = [log, *(tmp_path / f"fill.log.{number}" for number in (1, 2, 3))]
    assert sorted(tmp_path.iterdir()) == sorted(parts)
    assert all(part.stat().st_size <= 200 for part in parts)
    lines = "".join(part.read_text() for part in reversed(parts)).split()
    last = int(lines[0])
    assert lines == [str(number) for number in range(last, 60) for _ in range(10)][-len(lines) :]


def test_a_log_that_is_not_there_or_small_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("x")
    assert not log_rotation.rotate(tmp_path / "a.log")
    assert not log_rotation.rotate(tmp_path / "none.log")
    assert [path.name for path in tmp_path.iterdir()] == ["a.log"]
