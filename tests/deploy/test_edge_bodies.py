"""The edge and what JSON callers send.

Unknown keys, base64, RFC-legal forms, and the texts of refusals.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.deploy.edges import Orchestrator, edge

EDIT, STREAM, CANCEL = "/api/edit_with_comfyui", "/v1/edits:stream", "/v1/edits/an-id:cancel"
JSON = {"content-type": "application/json"}
MAX_ANSWER = 4096

UNKNOWN = [
    (EDIT, {"mask_base64": "AAAA"}, "mask_base64", "mask_image_base64"),
    (EDIT, {"experiment_id": "a", "stepz": 5}, "stepz", "steps"),
    (EDIT, {"guidanceScale": 3.5}, "guidanceScale", "guidance_scale"),
    (EDIT, {"mask_options": {"grow": 3}}, "mask_options.grow", "grow_px"),
    (STREAM, {"output": {"formats": "OUTPUT_FORMAT_PNG"}}, "output.formats", "format"),
    (STREAM, {"outpaint": {"lefft": 3}}, "outpaint.lefft", "left"),
    (CANCEL, {"request": "x"}, "request", "request_id"),
]

EXPERIMENTS, LOOK_UP = "/v1/experiments", "/v1/edits/an-id"
NO_PARAMETER = [
    ("GET", f"{EXPERIMENTS}?page_siz=1", "page_siz", "the nearest is page_size"),
    ("GET", f"{EXPERIMENTS}?page_size=1&pageToken=a", "pageToken", "the nearest is page_token"),
    ("GET", f"{EXPERIMENTS}?%70age_siz%65s=1", "page_sizes", "the nearest is page_size"),
    ("GET", f"{EXPERIMENTS}?page_size=1&page_size=2", "page_size", "is given twice"),
    ("GET", f"{EXPERIMENTS}?=1", "", "the nearest is page_size"),
    ("GET", f"{EXPERIMENTS}?page_size.x=1", "page_size.x", "the nearest is page_size"),
    ("GET", f"{LOOK_UP}?request_id=other", "request_id", "the path names it"),
    ("GET", f"{LOOK_UP}?x=1", "x", "this path takes none"),
    ("POST", f"{EDIT}?steps=5", "steps", "the JSON body has the key steps"),
    ("POST", f"{STREAM}?stepz=5", "stepz", "the JSON body has the key steps"),
    ("POST", f"{EDIT}?input_image=AAAA", "input_image", "the JSON body has the key input_image_base64"),
    ("POST", f"{CANCEL}?request_id=other", "request_id", "the path names it"),
]

NO_CHOICE = [
    (EDIT, {"profile": "fast"}, "profile", "PROFILE_FAST, PROFILE_BALANCED, PROFILE_HIGH; it is 'fast'"),
    (
        EDIT,
        {"output": {"omit": ["OUTPUT_OMIT_MASK", "MASK"]}},
        "output.omit[1]",
        "OUTPUT_OMIT_CUTOUT, OUTPUT_OMIT_MASK; it is 'MASK'",
    ),
    (
        STREAM,
        {"mask_options": {"subject": ""}},
        "mask_options.subject",
        "MASK_SUBJECT_SUBJECT, MASK_SUBJECT_BACKGROUND; it is ''",
    ),
]

NOT_JSON = [
    b"{", b"[]", b"{'steps': 5}", b"{steps: 5}", b'{"steps": 5,}', b'{"steps": NaN}', b'{"prompt": "a', b"x",
    b'{"steps": 1}}',
    b'{"prompt":' + b"[" * 100 + b"]" * 100 + b"}",
    b'{"prompt":[' + b"1," * 1_000_000 + b"1]}",  # would hold the transcoder, and with it the edge, for seconds
    b'{"prompt":"' + b'\\"' * 1_000_000 + b'"}',
    "{}".encode("utf-16"),
]  # fmt: skip

LONG = [
    {"steps": "A" * 1_000_000},
    {"profile": '\\"' * 500_000},
    {"mask": "가" * 300_000},
    {"input_image_base64": "A" * 1_000_000 + "="},
    {"input_image_base64": "A" * 1_000_001},
    {"input_image_base64": "!" * 1_000_000},
    {"reference_images_base64": ["A" * 1_000_000 + "-/AA"]},
    {"A" * 1_000_000: 1},
]


@asynccontextmanager
async def client_of(folder: Path) -> AsyncIterator[tuple[httpx2.AsyncClient, Orchestrator]]:
    orchestrator = Orchestrator()
    orchestrator.release.set()
    async with (
        edge(orchestrator, folder) as public,
        httpx2.AsyncClient(base_url=f"http://{public}", timeout=60) as client,
    ):
        yield client, orchestrator


def refusal(answer: httpx2.Response) -> dict[str, Any]:
    """The details of a 400 by type, and its message."""
    assert answer.status_code == 400, answer.text[:500]
    assert len(answer.content) < MAX_ANSWER
    body: dict[str, Any] = answer.json()
    details = {detail["@type"].rsplit(".", 1)[-1]: detail for detail in body["details"]}
    assert (body["code"], details["ErrorInfo"]["reason"]) == (3, "INVALID_FIELD")
    assert any("가" <= char <= "힣" for char in details["LocalizedMessage"]["message"])
    return {"message": body["message"], **details}


async def test_a_choice_that_there_is_not_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, orchestrator):
        for path, body, field, choices in NO_CHOICE:
            said = refusal(await client.post(path, json=body))
            assert said["BadRequest"]["fieldViolations"][0]["field"] == field
            assert said["message"] == f"{field}: must be one of {choices}"
        assert not orchestrator.requests


async def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, orchestrator):
        for path, body, field, nearest in UNKNOWN:
            said = refusal(await client.post(path, json=body))
            assert said["BadRequest"]["fieldViolations"][0]["field"] == field
            assert said["message"].endswith(f"the nearest is {nearest}")
        twice = refusal(await client.post(EDIT, content=b'{"steps": 10, "steps": 50}', headers=JSON))
        assert twice["message"] == "steps: is given twice"
        assert not orchestrator.requests


async def test_a_query_parameter_that_the_path_does_not_take_is_refused_by_name(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, orchestrator):
        orchestrator.metadata.clear()  # of the edge's start
        for method, path, name, advice in NO_PARAMETER:
            said = refusal(await client.request(method, path, **({"json": {}} if method == "POST" else {})))
            assert said["BadRequest"]["fieldViolations"][0]["field"] == name, path
            assert said["message"].endswith(advice), path
        refusal(await client.get(f"{EXPERIMENTS}?{'a' * 5000}=1"))
        assert not orchestrator.metadata
        for query in ("page_size=1&page_token=a", "page%5Fsize=1", "&&", ""):
            assert (await client.get(f"{EXPERIMENTS}?{query}")).status_code == 200


async def test_every_key_of_the_api_is_known(tmp_path: Path) -> None:
    body = {
        "experiment_id": "ben2_flux_fill",
        "input_image_base64": "AAAA",
        "prompt": '배경을 "현대적인" 체육관으로 \\ 변경',
        "steps": 28,
        "guidance_scale": 3.5,
        "strength": 8e-1,
        "seed": None,
        "profile": "PROFILE_FAST",
        "mask_image": "AAAA",
        "mask_options": {"subject": "MASK_SUBJECT_SUBJECT", "invert": True, "threshold": 0.5, "grow_px": 1},
        "outpaint": {"left": 1, "aspect": "16:9"},
        "reference_images_base64": ["AAAA", "_-8="],
        "output": {"format": 2, "quality": 90, "omit": ["OUTPUT_OMIT_MASK"]},
    }
    async with client_of(tmp_path) as (client, orchestrator):
        answer = await client.post(EDIT, content=json.dumps(body, indent=4), headers=JSON)
        assert answer.status_code == 200, answer.text
        [request] = orchestrator.requests
        assert (request.prompt, request.mask_options.grow_px) == (body["prompt"], 1)
        assert list(request.reference_images) == [b"\0\0\0", b"\xff\xef"]
        assert (await client.post(STREAM, json=body)).status_code == 200
        assert (await client.post(CANCEL, json={})).json()["request_id"] == "an-id"


async def test_a_body_that_is_not_json_is_refused_with_the_place(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, orchestrator):
        for body in NOT_JSON:
            assert " at byte " in refusal(await client.post(EDIT, content=body, headers=JSON))["message"]
        assert not orchestrator.requests


async def test_no_refusal_repeats_what_was_sent_at_length(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, _):
        for body in LONG:
            refusal(await client.post(EDIT, json=body))
        refusal(await client.get("/api/image_editing/experiments", params={"page_size": 'é"\\' * 2000}))
        [named] = refusal(await client.post(EDIT, json=LONG[5]))["BadRequest"]["fieldViolations"]
        assert named == {"field": "input_image_base64", "description": "must be base64; character 1 is '!'"}


async def test_a_picture_may_be_a_data_url_and_its_slashes_escaped(tmp_path: Path) -> None:
    picture = bytes(range(256)) * 20_000
    encoded = base64.b64encode(picture).decode()
    url = f"data:image/png;base64,{encoded}"
    body = json.dumps({"input_image_base64": url, "reference_images_base64": [url, encoded]})
    async with client_of(tmp_path) as (client, orchestrator):
        for text in (body, body.replace("/", "\\/")):
            answer = await client.post(EDIT, content=text, headers=JSON)
            assert answer.status_code == 200, answer.text[:500]
            request = orchestrator.requests.pop()
            assert [request.input_image, *request.reference_images] == [picture] * 3


async def test_what_rfcs_allow_is_taken(tmp_path: Path) -> None:
    kinds = ("application/json ; charset=utf-8", "Application/JSON", "application/json\t;charset=utf-8")
    async with client_of(tmp_path) as (client, orchestrator):
        for kind in kinds:
            answer = await client.post(EDIT, content=b'{"steps": 5}', headers={"content-type": kind})
            assert answer.status_code == 200, (kind, answer.text)
        answer = await client.post(EDIT, content=b'\xef\xbb\xbf{"steps": 5}', headers=JSON)
        assert answer.status_code == 200, answer.text
        assert {request.steps for request in orchestrator.requests} == {5}


async def test_a_header_with_underscores_is_taken(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, _):
        assert (await client.get("/healthz", headers={"api_key": "x"})).status_code == 200
        assert (await client.post(EDIT, json={}, headers={"api_key": "x"})).status_code == 200
        answer = await client.get("/api%2fx")
        assert "JSON" not in refusal(answer)["message"]


async def test_a_proxy_that_speaks_http_1_0_is_answered(tmp_path: Path) -> None:
    async with edge(Orchestrator(), tmp_path) as public:
        reader, writer = await asyncio.open_connection(public.host, public.port)
        writer.write(b"GET /api/image_editing/experiments HTTP/1.0\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
    assert b" 200 OK" in answer.split(b"\r\n")[0]
    assert b'"experiments":[]' in answer


async def test_the_access_log_names_path_method_and_request(tmp_path: Path) -> None:
    async with client_of(tmp_path) as (client, _):
        await client.get("/api/image_editing/experiments", headers={"x-imgedit-request-id": "mine"})
        await client.get("/openapi.json?x=1")
    lines = [json.loads(line) for line in (tmp_path / "edge.log").read_text().splitlines() if line.startswith("{")]
    assert {(line["method"], line["path"]) for line in lines} == {
        ("GET", "/api/image_editing/experiments"),
        ("GET", "/openapi.json"),
    }
    assert "mine" in {line["request_id"] for line in lines}
