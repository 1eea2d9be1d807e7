"""Callers can neither forge nor flood logs, and prompts and images are not logged."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from imgedit import EditClient
from imgedit.errors import ExperimentNotFound, FeatureNotFound, ImgeditError, InvalidArgument, quoted, to_status
from imgedit.v1 import edit_pb2
from services.common import logs
from services.common.server import RunningServer
from services.orchestrator import metering
from services.orchestrator.__main__ import make_service
from services.orchestrator.catalogue import models
from services.orchestrator.settings import OrchestratorSettings
from tests import http2

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

HOSTILE = (
    'x\n{"code": "OK", "message": "rpc"}',
    "x\r\nfake",
    "x\x1b[2J\x1b]0;title\x07",
    "x\x9b31m\x85y\u2028z\u2029",
    "x\u202egnp.exe\u2066",
    "한글" * 400_000,
    "x" * 1_000_000,
)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root, captures = logging.getLogger(), warnings.showwarning
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], warnings.showwarning = handlers, captures
    root.setLevel(level)


def lines_of(text: str) -> list[dict[str, object]]:
    """Every line, with any separator that a reader might know; each must be JSON."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_of_the_log_is_one_line_whatever_it_says(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("test", "info")
    logging.getLogger("t").info("told %s", text, extra={"field": text})
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("t").exception("failed")
    written = capsys.readouterr().err
    told, failed = lines_of(written)
    assert str(told["field"]).startswith(text[:2])
    assert "Traceback" in str(failed["exc_info"]) or len(text) > 10_000
    assert len(written) < 20_000
    assert not set(written) - {"\n"} & {chr(code) for code in (*range(32), *range(0x7F, 0xA0), 0x2028, 0x202E, 0x2066)}


def test_times_are_utc_and_say_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    try:
        logs.configure("test", "info")
        before = datetime.now(UTC)
        logging.getLogger("t").info("told")
        after = datetime.now(UTC)
    finally:
        monkeypatch.undo()
        time.tzset()
    [line] = lines_of(capsys.readouterr().err)
    text = str(line["time"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert before - timedelta(milliseconds=1) <= datetime.fromisoformat(text) <= after


def test_accounts_are_written_at_every_level(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("test", "error")
    logging.getLogger("other").warning("not shown")
    with metering.recorded() as used:
        used.experiment = "e"
    [line] = lines_of(capsys.readouterr().err)
    assert (line["logger"], line["experiment"], line["outcome"]) == ("imgedit.usage", "e", "OK")


def test_a_failure_that_nobody_caught_is_a_line_too() -> None:
    code = (
        "import threading; from services.common import logs; logs.configure('test', 'info');"
        "logs.claim_standard_error(); t = threading.Thread(target=lambda: 1/0); t.start(); t.join();"
        "raise ValueError('forged\\n{}')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    thread, main = lines_of(done.stderr)
    assert "ZeroDivisionError" in str(thread["exc_info"])
    assert "forged" in str(main["exc_info"])


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_ids_come_back_short_and_in_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = OrchestratorSettings(port=0, metrics_port=0, drain_seconds=0)
    logs.configure("orchestrator", "debug")
    server = RunningServer(make_service(settings), settings)
    await server.start()
    known = models.load(models.SHIPPED).experiments[0].id
    try:
        async with EditClient(f"127.0.0.1:{server.port}") as client:
            for expected, fields in (
                (ExperimentNotFound, {"experiment_id": text}),
                (FeatureNotFound, {"experiment_id": known, "feature_id": text}),
                (InvalidArgument, {"experiment_id": known, "prompt": "p", "request_id": text}),
                (InvalidArgument, {"experiment_id": known, "prompt": f"secret prompt {text}", "steps": 99}),
                (
                    InvalidArgument,
                    {
                        "experiment_id": known,
                        "feature_id": "outpainting",
                        "prompt": "p",
                        "outpaint": edit_pb2.Outpaint(aspect=text),
                    },
                ),
            ):
                request = edit_pb2.EditRequest(input_image=b"no picture", **fields)  # type: ignore[arg-type]
                with pytest.raises(expected) as caught:
                    async for _ in client.edit_stream(request, timeout=20):
                        pass
                assert_short(caught.value)
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await client._stub.Edit(request, timeout=20)
                assert failed.value.code() == expected.code
                assert len(str(failed.value.details())) < 1600
    finally:
        await server.drain()
    written = capsys.readouterr().err
    assert all(line["message"] != "forged" for line in lines_of(written))
    assert "secret prompt" not in written
    assert len(written) < 40_000


async def test_a_header_that_is_no_text_is_not_written_down(capsys: pytest.CaptureFixture[str]) -> None:
    settings = OrchestratorSettings(port=0, metrics_port=0, drain_seconds=0)
    logs.configure("orchestrator", "info")
    server = RunningServer(make_service(settings), settings)
    await server.start()
    try:
        for name in (b"authorization", b"x-imgedit-request-id", b"user-agent", b"x-anything"):
            further = {name: b"Bearer secret\xff"}
            await http2.call(server.port, b"/imgedit.v1.EditService/ListExperiments", further=further)
    finally:
        await server.drain()
    written = capsys.readouterr().err
    assert "ListExperiments" in written
    assert "secret" not in written
    assert "Traceback" not in written


def assert_short(error: ImgeditError) -> None:
    assert len(error.message) < 1600
    assert len(error.korean) < 1600
    assert not [char for char in error.message if not char.isprintable()]


def test_errors_fit_into_the_headers_of_a_call() -> None:
    long = "가" * 5000
    error = InvalidArgument.field("prompt", long, korean=long)
    assert to_status(error).ByteSize() < 8192
    assert len(quoted("x" * 1_000_000)) < 150
    assert quoted("a\n\x1b\u2028") == r"'a\n\x1b\u2028'"
