"""The edge: a real Envoy with the shipped configuration before the real services."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx2
import psutil
import pytest

from imgedit import SyncEditClient
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from tests.e2e.conftest import RunningStack

GUIDE_ANSWER = {
    "success",
    "experiment_id",
    "experiment_name",
    "output_image_base64",
    "background_removed_image_base64",
    "elapsed_time",
}


@pytest.fixture(scope="module")
def edge(stack: RunningStack) -> str:
    """The address of the stack's edge, host:port."""
    return f"127.0.0.1:{stack.ports.gateway}"


@pytest.fixture(scope="module")
def rest(edge: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"http://{edge}", timeout=120) as client:
        yield client


def guide_request(photo: Path, **changes: Any) -> dict[str, Any]:
    """The guide's request, with few steps and an English prompt."""
    return {
        "experiment_id": "ben2_flux_fill",
        "input_image_base64": base64.b64encode(photo.read_bytes()).decode(),
        "prompt": "a bright modern gym",
        "steps": 10,
        "guidance_scale": 3.5,
        "strength": 0.8,
        **changes,
    }


def status_of(answer: httpx2.Response, http: int, code: int, reason: str) -> dict[str, Any]:
    """The google.rpc.Status of a refused call, which must have this code and reason."""
    assert answer.status_code == http, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    by_type = {detail["@type"].rsplit(".", 1)[-1]: detail for detail in body["details"]}
    assert by_type["ErrorInfo"]["reason"] == reason
    assert by_type["ErrorInfo"]["domain"] == "imgedit"
    assert any("가" <= char <= "힣" for char in by_type["LocalizedMessage"]["message"])
    return {**body, **by_type}


def test_the_guides_edit_works_as_written(rest: httpx2.Client, stack: RunningStack) -> None:
    answer = rest.post("/api/edit_with_comfyui", json=guide_request(stack.photo))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) >= GUIDE_ANSWER
    assert body["success"] is True
    assert (body["experiment_id"], body["experiment_name"]) == ("ben2_flux_fill", "BEN2 + FLUX.1-Fill")
    assert isinstance(body["elapsed_time"], float)
    for key in ("output_image_base64", "background_removed_image_base64"):
        assert base64.b64decode(body[key], validate=True).startswith(b"\x89PNG")
    assert isinstance(body["seed"], int)


def test_the_guides_list_works_as_written(rest: httpx2.Client) -> None:
    body = rest.get("/api/image_editing/experiments").json()
    flux, qwen, cut_out = body["experiments"]
    assert (flux["id"], flux["name"]) == ("ben2_flux_fill", "BEN2 + FLUX.1-Fill")
    assert flux["description"] == "배경 제거 후 인페인팅/아웃페인팅"
    assert [(f["id"], f["name"]) for f in flux["features"]] == [
        ("inpainting", "영역 채우기"),
        ("outpainting", "이미지 확장"),
    ]
    assert [f["name"] for f in qwen["features"]] == ["외관 편집", "의미론적 편집", "텍스트 편집", "다중 이미지 편집"]
    assert cut_out["features"][0]["task"] == {"ko": "배경 제거", "en": "Remove the background"}


def test_an_edit_of_v1_can_be_looked_up_with_its_answer(rest: httpx2.Client, stack: RunningStack) -> None:
    answer = rest.post("/v1/edits", json=guide_request(stack.photo, request_id="looked-up"))
    assert answer.status_code == 200, answer.text
    found = rest.get("/v1/edits/looked-up").json()
    assert found == {"request_id": "looked-up", "state": "EDIT_STATE_SUCCEEDED", "result": answer.json()}
    status_of(rest.get("/v1/edits/never-sent"), 404, 5, "REQUEST_NOT_FOUND")
    assert rest.get("/v1/experiments").json() == rest.get("/api/image_editing/experiments").json()


def test_a_stream_over_json_ends_with_its_result(rest: httpx2.Client, stack: RunningStack) -> None:
    with rest.stream("POST", "/v1/edits:stream", json=guide_request(stack.photo)) as answer:
        events = [json.loads(line) for line in answer.iter_lines() if line]
    assert all(event["request_id"] for event in events)
    assert "result" in events[-1]
    assert sum("result" in event or "error" in event for event in events) == 1
    assert any("progress" in event for event in events)


def test_a_stream_over_json_ends_with_its_error(rest: httpx2.Client, stack: RunningStack) -> None:
    request = guide_request(stack.photo, steps=9)
    with rest.stream("POST", "/v1/edits:stream", json=request) as answer:
        events = [json.loads(line) for line in answer.iter_lines() if line]
    assert events[-1]["error"]["code"] == 3


def test_a_bad_value_is_a_status_with_the_field(rest: httpx2.Client, stack: RunningStack) -> None:
    body = status_of(
        rest.post("/api/edit_with_comfyui", json=guide_request(stack.photo, steps=51)), 400, 3, "INVALID_FIELD"
    )
    assert body["BadRequest"]["fieldViolations"][0]["field"] == "steps"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_refused(rest: httpx2.Client, stack: RunningStack, number: str) -> None:
    request = guide_request(stack.photo, strength=number)
    body = status_of(rest.post("/api/edit_with_comfyui", json=request), 400, 3, "INVALID_FIELD")
    assert body["BadRequest"]["fieldViolations"][0]["field"] == "strength"


def test_an_unknown_experiment_is_404(rest: httpx2.Client, stack: RunningStack) -> None:
    request = guide_request(stack.photo, experiment_id="nobody")
    body = status_of(rest.post("/api/edit_with_comfyui", json=request), 404, 5, "EXPERIMENT_NOT_FOUND")
    assert body["ResourceInfo"]["resourceName"] == "nobody"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_a_content_type_other_than_json_is_415(rest: httpx2.Client, kind: str) -> None:
    answer = rest.post("/api/edit_with_comfyui", content=b"{}", headers={"content-type": kind} if kind else {})
    status_of(answer, 415, 3, "UNSUPPORTED_MEDIA_TYPE")


def test_a_page_of_another_origin_gets_no_leave(rest: httpx2.Client) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = rest.options("/api/edit_with_comfyui", headers=asked)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"steps": "many"}', b'{"input_image_base64": "data:image/png;base64,AAAA"}']
)
def test_a_body_that_is_no_request_is_400(rest: httpx2.Client, body: bytes) -> None:
    answer = rest.post("/api/edit_with_comfyui", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["code"] in (3, 5)
    assert answer.json()["details"]


def test_an_unknown_path_is_404_and_a_wrong_method_405(rest: httpx2.Client) -> None:
    status_of(rest.get("/api/nothing"), 404, 5, "NOT_FOUND")
    status_of(rest.get("/api/edit_with_comfyui"), 405, 12, "METHOD_NOT_ALLOWED")


def test_a_body_over_the_cap_is_413_and_is_not_hoarded(rest: httpx2.Client, edge: str) -> None:
    [envoy] = [
        process
        for process in psutil.Process().children()
        if "envoy" in process.name() and any(c.laddr.port == int(edge.split(":")[1]) for c in process.net_connections())
    ]
    before = envoy.memory_info().rss

    def endless() -> Iterator[bytes]:
        for _ in range(120):
            yield b" " * 1024 * 1024

    headers = {"content-type": "application/json"}
    try:
        answer = rest.post("/api/edit_with_comfyui", content=endless(), headers=headers)
    except httpx2.WriteError:  # refused while it was still being sent
        answer = None
    if answer is not None:
        status_of(answer, 413, 8, "REQUEST_TOO_LARGE")
    assert envoy.memory_info().rss - before < 200 * 1024 * 1024


def test_the_callers_deadline_holds(rest: httpx2.Client, stack: RunningStack) -> None:
    request = guide_request(stack.photo, steps=50)
    answer = rest.post("/api/edit_with_comfyui", json=request, headers={"grpc-timeout": "50m"})
    assert answer.status_code == 504
    assert answer.json()["code"] == 4


def test_an_unknown_edit_cannot_be_cancelled(rest: httpx2.Client) -> None:
    status_of(rest.post("/v1/edits/nobody-1:cancel", json={}), 404, 5, "REQUEST_NOT_FOUND")


def test_the_api_describes_itself(rest: httpx2.Client) -> None:
    described = rest.get("/openapi.json")
    assert described.headers["content-type"] == "application/json"
    document = described.json()
    assert document["openapi"] == "3.1.0"
    assert {"/api/edit_with_comfyui", "/api/image_editing/experiments"} <= set(document["paths"])
    fields = document["components"]["schemas"]["EditRequest"]["properties"]
    assert set(fields) == {field.json_name for field in edit_pb2.EditRequest.DESCRIPTOR.fields}


def test_native_grpc_goes_through_the_same_port(edge: str, stack: RunningStack) -> None:
    with SyncEditClient(edge) as client:
        stages = []
        answer = client.edit(
            stack.photo,
            experiment="ben2_flux_fill",
            prompt="a gym",
            steps=10,
            seed=1,
            on_event=lambda event: stages.append(event.WhichOneof("event")),
        )
        assert answer.success
        assert "progress" in stages
        assert client.is_serving()


def test_a_batch_is_not_buffered(edge: str) -> None:
    """The first answer must come while the request stream is still open."""
    with grpc.insecure_channel(edge) as channel:
        answered = threading.Event()
        requests = _then_wait([edit_pb2.EditRequest(experiment_id="x")], answered)
        call = edit_pb2_grpc.EditServiceStub(channel).EditBatch(requests)
        assert next(call).HasField("error")
        answered.set()
        call.cancel()


def _then_wait(requests: list[edit_pb2.EditRequest], answered: threading.Event) -> Iterator[edit_pb2.EditRequest]:
    """Requests whose stream stays open until the first is answered.

    If it never is, the test ends by its timeout.
    """
    yield from requests
    answered.wait(200)
