"""Tracing does nothing when off, and follows only the caller's header when on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from pydantic import ValidationError

from imgedit.errors import EditCancelled, InvalidArgument, PromptRejected, SettingsError
from services.common import tracing
from services.diffusion.engine.job_spans import JobSpans
from services.orchestrator.settings import OrchestratorSettings
from tests.collector import collector

ROOT = Path(__file__).parents[3]
NOBODY = "http://127.0.0.1:9"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = PARENT[:-1] + "0"


@pytest.fixture
def on() -> Iterator[None]:
    """Traced."""
    with collector() as spans:
        tracing.configure(OrchestratorSettings(tracing=spans.endpoint))
        yield
        tracing.close()


def is_kept(header: str) -> bool:
    """The sampled bit of its flags; there are others."""
    return bool(int(header[-2:], 16) & 1)


def carried(header: str, **more: str) -> str:
    """The headers passed on by a call with these headers."""
    with tracing.served("/a.B/C", lambda: [("traceparent", header), *more.items()]):
        [(key, value)] = tracing.metadata()
    assert key == "traceparent"
    return value


def test_a_server_without_tracing_does_not_import_opentelemetry() -> None:
    code = (
        "import sys; from services.common import server, tracing, interceptors, settings;"
        "from services.orchestrator.__main__ import make_service; from services.orchestrator.settings import *;"
        "from services.fill.__main__ import make_service as fill; from services.diffusion import engine;"
        "chosen = OrchestratorSettings(); tracing.configure(chosen); make_service(chosen);"
        "tracing.span('x').__enter__(); tracing.close();"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_without_a_collector_every_span_is_the_same_nothing() -> None:
    def metadata() -> list[tuple[str, str]]:
        raise AssertionError("asked for nothing")

    assert tracing.span("a") is tracing.span("b") is tracing.served("/a.B/C", metadata)
    assert isinstance(tracing.span("a"), nullcontext)
    with tracing.span("a"):
        assert (tracing.current(), tracing.metadata(), JobSpans.of_current_call(4)) == (None, (), None)


def test_a_collector_without_the_extra_stops_the_start_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "services.common.otlp", None)
    with pytest.raises(SettingsError, match=r"IMGEDIT_ORCHESTRATOR_TRACING.*pip install -e .*\[tracing\]"):
        tracing.configure(OrchestratorSettings(tracing=NOBODY))


@pytest.mark.parametrize(
    "endpoint", ["localhost:4317", "grpc://collector:4317", "http://", "http://a b", "http://a/v1"]
)
def test_an_endpoint_that_is_no_address_of_a_collector_is_refused(endpoint: str) -> None:
    with pytest.raises(ValidationError):
        OrchestratorSettings(tracing=endpoint)


@pytest.mark.usefixtures("on")
def test_a_call_goes_on_in_the_callers_trace_under_a_span_of_its_own() -> None:
    passed = carried(PARENT)
    assert passed[:36] == PARENT[:36]
    assert passed[36:52] != PARENT[36:52]
    assert is_kept(passed)


@pytest.mark.usefixtures("on")
def test_the_caller_decides_whether_its_trace_is_kept() -> None:
    assert not is_kept(carried(UNSAMPLED))


def test_without_a_word_of_the_caller_the_ratio_decides() -> None:
    with collector() as spans:
        tracing.configure(OrchestratorSettings(tracing=spans.endpoint, tracing_ratio=0))
        try:
            with tracing.served("/a.B/C", list):
                [(_, value)] = tracing.metadata()
            assert not is_kept(value)
            assert is_kept(carried(PARENT))
        finally:
            tracing.close()
    assert [span.trace_id for span in spans.spans] == [PARENT[3:35]]


@pytest.mark.usefixtures("on")
@pytest.mark.parametrize("header", ["", "x", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", PARENT * 9, "한"])
def test_a_malformed_header_is_as_good_as_none(header: str) -> None:
    assert carried(header)[3:35] not in ("0" * 32, PARENT[3:35])


@pytest.mark.usefixtures("on")
def test_text_of_the_caller_is_not_passed_on() -> None:
    assert "secret" not in carried(PARENT, tracestate="k=secret", baggage="k=secret")


@pytest.mark.usefixtures("on")
def test_spans_nest_and_leave_no_trace_behind() -> None:
    with tracing.span("outer"):
        outer = tracing.current()
        with pytest.raises(ZeroDivisionError), tracing.span("inner"):
            1 / (tracing.current() is outer)
        assert tracing.current() is outer
    assert tracing.current() is None


@pytest.mark.usefixtures("on")
async def test_tasks_take_their_span_with_them_and_do_not_disturb_each_other() -> None:
    async def work(name: str) -> str:
        with tracing.span(name):
            before = tracing.metadata()
            await asyncio.sleep(0.01)
            assert tracing.metadata() == before
            return before[0][1]

    with tracing.span("edit"):
        parents = await asyncio.gather(work("a"), work("b"))
    assert len({parent[:36] for parent in parents}) == 1
    assert len(set(parents)) == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InvalidArgument.field("prompt", "is 'a secret'"), ("INVALID_ARGUMENT", "INVALID_FIELD")),
        (asyncio.CancelledError(), ("CANCELLED", EditCancelled.reason)),
        (GeneratorExit(), ("CANCELLED", EditCancelled.reason)),
        (ValueError("a secret"), ("INTERNAL", "INTERNAL")),
        (PromptRejected("a secret"), (PromptRejected.code.name, PromptRejected.reason)),
    ],
)
def test_a_span_tells_of_an_error_its_code_and_reason(error: BaseException, expected: tuple[str, str]) -> None:
    assert tracing.code_and_reason(error) == expected


WITHOUT_A_COLLECTOR = f"""
import time
from services.common import otlp, tracing
from services.orchestrator.settings import OrchestratorSettings
otlp.CLOSE_SECONDS = 0.3
tracing.configure(OrchestratorSettings(tracing={NOBODY!r}))
for _ in range(2000):
    with tracing.span("kept waiting"):
        pass
started = time.monotonic()
tracing.close()
assert 0.3 <= time.monotonic() - started < 2
"""


def test_a_collector_that_is_gone_does_not_hold_the_end_up() -> None:
    """In a subprocess: a late export would continue for seconds."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_A_COLLECTOR], cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
