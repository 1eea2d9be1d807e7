"""One trace of an edit across all services, as received by a collector."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest

from imgedit import SyncEditClient
from imgedit.errors import EditCancelled, InvalidArgument
from imgedit.local.ports import Ports
from imgedit.local.supervisor import Stack, environment_of
from services.orchestrator.catalogue.models import SHIPPED
from tests.collector import Collector, Span, Trace, collector
from tests.e2e.conftest import WORK_PIXELS
from tests.e2e.orchestrators import orchestrator

EDIT = "imgedit.v1.EditService/Edit"
STREAM = "imgedit.v1.EditService/EditStream"
FILL = "imgedit.inference.v1.FillService/Fill"
QWEN_EDIT = "imgedit.inference.v1.QwenEditService/Edit"
SEGMENT = "imgedit.inference.v1.SegmentationService/Segment"
REWRITE = "imgedit.inference.v1.PromptService/RewritePrompt"
PHASES = ["decode", "denoise", "prepare"]
PROMPT = "a zebra in a gym, the words MARZIPAN 1984"


class Traced:
    """A separate stack whose services send their spans to `spans`."""

    def __init__(self, running: Stack, ports: Ports, spans: Collector) -> None:
        self.running, self.ports, self.spans = running, ports, spans

    def logged(self, name: str) -> list[dict[str, Any]]:
        text = (self.running.logs / f"{name}.log").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def traced(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    ports = Ports.free(gateway=True)
    with collector() as spans:
        settings = {
            f"IMGEDIT_{service}_TRACING": spans.endpoint
            for service in ("ORCHESTRATOR", "SEGMENTATION", "FILL", "QWEN_EDIT")
        }
        environment = {
            **environment_of(ports, models, max_work_pixels=WORK_PIXELS),
            **settings,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        running = Stack(ports, tmp_path_factory.mktemp("traced-logs"), environment)
        try:
            running.start()
            list(running.wait_until_serving(timeout=180))
            yield Traced(running, ports, spans)
        finally:
            running.stop()


@pytest.fixture
def client(traced: Traced) -> Iterator[SyncEditClient]:
    with SyncEditClient(traced.ports.address("orchestrator")) as connected:
        yield connected


def is_within(inner: Span, outer: Span) -> bool:
    return outer.seconds[0] <= inner.seconds[0] <= inner.seconds[1] <= outer.seconds[1]


def assert_lineage(trace: Trace, *names: str) -> None:
    """Each is the child of the one before it and lies within it."""
    for outer, inner in pairwise(names):
        child = trace.named(inner)
        assert trace.parent(child).name == outer
        assert is_within(child, trace.parent(child)), (outer, inner)


def test_an_edit_over_rest_is_one_trace_from_the_callers_span_to_the_last_step(traced: Traced, photo: Path) -> None:
    trace_id, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    body = {
        "experiment_id": "ben2_flux_fill",
        "input_image_base64": base64.b64encode(photo.read_bytes()).decode(),
        "prompt": PROMPT,
        "steps": 10,
        "strength": 0.8,
        "request_id": "over-rest",
    }
    headers = {"traceparent": f"00-{trace_id}-{caller}-01", "tracestate": "mine=marzipan"}
    with httpx2.Client(base_url=f"http://127.0.0.1:{traced.ports.gateway}", timeout=120) as rest:
        assert rest.post("/api/edit_with_comfyui", json=body, headers=headers).status_code == 200

    trace = traced.spans.trace_of("over-rest", lambda trace: trace.has(EDIT, SEGMENT, FILL, "stage composite"))
    assert {span.trace_id for span in trace.spans} == {trace_id}
    assert trace.named(EDIT).parent_id == caller
    assert_lineage(trace, EDIT, "edit", "stage fill", FILL)
    assert_lineage(trace, EDIT, "edit", "stage segment", SEGMENT, "network")
    for phase in PHASES:
        assert_lineage(trace, FILL, phase)
    assert trace.children(trace.named(FILL)) == PHASES
    assert trace.children(trace.named("edit")) == ["stage composite", "stage fill", "stage mask", "stage segment"]
    assert {span.service for span in trace.spans} == {"imgedit-orchestrator", "imgedit-segmentation", "imgedit-fill"}
    assert trace.named("denoise").attributes["steps"] == 8
    assert trace.named("denoise").attributes["steps_run"] == 8
    assert trace.named("denoise").attributes["batch_sizes"] == [1] * 8
    edit = trace.named("edit").attributes
    assert (edit["experiment"], edit["feature"]) == ("ben2_flux_fill", "inpainting")
    assert not [span.name for span in trace.spans if span.has_failed]


def test_a_prompt_that_is_translated_is_a_stage_of_the_trace(
    traced: Traced, client: SyncEditClient, photo: Path
) -> None:
    client.edit(
        photo, experiment="ben2_flux_fill", prompt="배경을 현대적인 체육관으로 변경", steps=10, request_id="translated"
    )
    trace = traced.spans.trace_of("translated", lambda trace: trace.has(STREAM, REWRITE, FILL))
    assert_lineage(trace, STREAM, "edit", "stage rewrite_prompt", REWRITE, "side task")
    assert trace.named(REWRITE).service == "imgedit-qwen_edit"


def test_a_refused_edit_is_a_failed_span_with_its_reason_and_not_its_message(
    traced: Traced, client: SyncEditClient, photo: Path
) -> None:
    with pytest.raises(InvalidArgument):
        client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=51, request_id="refused")
    trace = traced.spans.trace_of("refused", lambda trace: trace.has(STREAM, "edit"))
    for name in (STREAM, "edit"):
        failed = trace.named(name)
        assert (failed.has_failed, failed.status) == (True, "INVALID_ARGUMENT INVALID_FIELD")
        assert failed.attributes["error.reason"] == "INVALID_FIELD"
    assert len(trace.spans) == 2


def test_an_edit_that_is_cancelled_ends_its_spans_in_every_service(
    traced: Traced, client: SyncEditClient, photo: Path
) -> None:
    stepping = threading.Event()

    def run() -> None:
        with SyncEditClient(traced.ports.address("orchestrator")) as other, pytest.raises(EditCancelled):
            other.edit(
                photo,
                experiment="ben2_qwen_image",
                prompt="a gym",
                steps=50,
                request_id="cancelled",
                on_event=lambda event: event.HasField("progress") and stepping.set(),
            )

    editing = threading.Thread(target=run)
    editing.start()
    assert stepping.wait(60)
    client.cancel("cancelled")
    editing.join(30)
    assert not editing.is_alive()
    trace = traced.spans.trace_of("cancelled", lambda trace: trace.has(STREAM, "edit", QWEN_EDIT, "denoise"))
    for name in ("edit", "stage qwen_edit", QWEN_EDIT, "denoise"):
        span = trace.named(name)
        assert (span.has_failed, span.attributes["error.code"]) == (True, "CANCELLED"), name
    assert 1 <= trace.named("denoise").attributes["steps_run"] < trace.named("denoise").attributes["steps"] == 40
    assert trace.children(trace.named(QWEN_EDIT)) == ["denoise", "prepare"]
    assert not trace.named("prepare").has_failed


def test_lines_of_the_log_name_the_trace(traced: Traced, client: SyncEditClient, photo: Path) -> None:
    client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=10, request_id="logged")
    trace = traced.spans.trace_of("logged", lambda trace: trace.has(STREAM, FILL))
    for service in ("orchestrator", "fill", "segmentation"):
        lines = [line for line in traced.logged(service) if line.get("request_id") == "logged"]
        assert lines
        assert {line["trace_id"] for line in lines} == {trace.spans[0].trace_id}


def test_nothing_that_a_caller_wrote_or_drew_is_in_any_span(traced: Traced, photo: Path) -> None:
    """In what the edits above sent: they have the words in their prompts and headers."""
    sent = b"".join(request.SerializeToString() for request in traced.spans.requests).lower()
    assert b"zebra" not in sent
    assert b"marzipan" not in sent
    assert "체육관".encode() not in sent
    assert photo.read_bytes()[:16] not in sent
    assert len(sent) < 300 * len(traced.spans.spans) + 1000 * len(traced.spans.requests)


def test_spans_that_wait_are_sent_when_a_service_ends(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would wait for five minutes, so what arrives was sent at the end."""
    with collector() as spans:
        monkeypatch.setenv("IMGEDIT_ORCHESTRATOR_TRACING", spans.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "300000")
        with orchestrator(Ports.free(), SHIPPED, tmp_path) as running, SyncEditClient(running.target) as client:
            with pytest.raises(InvalidArgument):
                client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=51)
            assert not spans.spans
        assert {span.name for span in spans.spans} >= {STREAM, "edit"}
