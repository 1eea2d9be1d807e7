"""OpenAI's image API with the `openai` package, over real HTTP and gRPC."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx2
import numpy as np
import openai
import pytest
import pytest_asyncio
from PIL import Image
from prometheus_client import REGISTRY

from imgedit import tokens

from .openai_door import APPEARANCE, INPAINTING, OUTPAINTING, Door, before, decoded, door, hole, pixels, png, upload
from .scripted import eventually, picture

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PUBLIC_URL = "https://images.example.org"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Door]:
    """A door for the tests that leave no trace but requests in the scripts."""
    async with door(public_url=PUBLIC_URL) as running:
        yield running


@pytest.fixture
def at(shared: Door) -> Door:
    """The same, as if nothing had been sent before."""
    for script in shared.world.scripts.values():
        script.requests.clear()
        script.steps, script.cancelled = 3, 0
        script.gate.set()
        script.begun.clear()
    return shared


async def posted(
    at: Door, files: Sequence[Any] = (), *, headers: dict[str, str] | None = None, **fields: str
) -> httpx2.Response:
    """A form with the picture in it, as other programs send it."""
    async with httpx2.AsyncClient(timeout=60) as client:
        return await client.post(
            f"{at.url}/v1/images/edits",
            data={"prompt": "a gym", **fields},
            files=[("image", upload()), *files],
            headers=headers,
        )


async def refusal(at: Door, **parameters: Any) -> dict[str, Any]:
    """The error of a rejected request; checks that nothing was computed for it."""
    with pytest.raises(openai.APIStatusError) as caught:
        await at.edit(**parameters)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert not any(script.requests for name, script in at.world.scripts.items() if name != "segmentation")
    body = caught.value.body
    assert isinstance(body, dict)
    assert set(body) == {"message", "type", "param", "code", "message_ko"}
    assert re.search("[가-힣]", body["message_ko"])
    return {"status": caught.value.status_code, **body}


def changed(result: bytes) -> Any:
    """(H, W) bool: where a result differs from the picture that was sent."""
    return (pixels(result) != pixels(picture())).any(axis=2)


async def test_the_models_are_the_experiments_and_their_features(at: Door) -> None:
    found = [model.id async for model in at.client.models.list()]
    assert found[:3] == ["ben2_flux_fill", INPAINTING, OUTPAINTING]
    assert APPEARANCE in found
    assert len(found) == len(set(found)) == 10


async def test_a_prompt_alone_edits_by_instruction_and_the_answer_says_with_what(at: Door) -> None:
    answer = await at.edit(prompt="a red dress", user="someone")
    result = answer.data[0]
    assert (result.model, answer.size, answer.output_format, answer.quality) == (APPEARANCE, "64x48", "png", "medium")
    assert (answer.background, answer.safety_identifier, answer.usage.total_tokens) == ("opaque", "someone", 0)
    assert (result.url, result.revised_prompt) == (None, None)
    assert pixels(decoded(answer)).shape == (48, 64, 3)
    assert at.world.scripts["qwen_edit"].requests[0].prompt == "a red dress"


@pytest.mark.parametrize("colour", [255, 0], ids=["white", "black"])
async def test_a_mask_repaints_where_it_is_transparent_whatever_its_colour(at: Door, colour: int) -> None:
    left, top, right, bottom = box = (8, 4, 40, 20)
    answer = await at.edit(mask=upload(hole(box, colour=colour)), extra_body={"seed": 7, "postprocess": False})
    assert answer.data[0].model == INPAINTING
    repainted = changed(decoded(answer))
    inside = np.zeros_like(repainted)
    inside[top:bottom, left:right] = True
    assert not repainted[~inside].any()
    assert repainted[inside].mean() > 0.9  # a pixel of the noise may have the painted colour by chance


async def test_mask_image_is_our_mask_which_is_white_where_it_repaints(at: Door) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[:10] = 255
    answer = await posted(at, [("mask_image", upload(png(Image.fromarray(mask))))], postprocess="false", seed="7")
    assert answer.status_code == 200, answer.text
    repainted = changed(base64.b64decode(answer.json()["data"][0]["b64_json"]))
    assert repainted[:10].mean() > 0.9
    assert not repainted[10:].any()


async def test_our_parameters_are_extra_fields_also_by_the_names_of_other_servers(at: Door) -> None:
    extra = {"num_inference_steps": 20, "true_cfg_scale": 2.5, "strength": 0.5, "seed": 9, "negative_prompt": "blurry"}
    answer = await at.edit(model=APPEARANCE, quality="low", extra_body=extra)
    [sent] = at.world.scripts["qwen_edit"].requests
    assert (sent.steps, sent.true_cfg_scale, sent.strength, sent.seed) == (20, 2.5, 0.5, 9)
    assert sent.negative_prompt == "blurry"
    assert (answer.quality, answer.data[0].seed) == ("low", 9)


async def test_loras_are_texts_or_objects_of_an_extra_field() -> None:
    cases: list[tuple[Any, list[tuple[str, float]]]] = [
        (["ink:0.5", "oil"], [("ink", 0.5), ("oil", 1.0)]),
        ("ink:-2", [("ink", -2.0)]),
        ([{"name": "oil", "scale": 2}, {"name": "ink", "scale": 0.25}], [("ink", 0.25), ("oil", 2.0)]),
        ([{"name": "ink"}], [("ink", 1.0)]),
    ]
    async with door(orchestrator={"loras": {"fill": ["ink", "oil"]}}) as at:
        for given, expected in cases:
            await at.edit(model=INPAINTING, extra_body={"loras": given})
            assert sorted((use.name, use.scale) for use in at.world.fill.requests[-1].loras) == expected


async def test_margins_extend_the_picture_and_choose_the_feature_that_does(at: Door) -> None:
    answer = await at.edit(extra_body={"outpaint": {"left": 16, "top": 8}})
    assert (answer.data[0].model, answer.size) == (OUTPAINTING, "80x56")
    assert pixels(decoded(answer)).shape == (56, 80, 3)


async def test_a_list_of_pictures_is_one_to_edit_and_references(at: Door) -> None:
    answer = await at.edit(image=[upload(), upload(picture(32, 32))])
    assert answer.data[0].model == "ben2_qwen_image/multi_image_editing"
    [sent] = at.world.scripts["qwen_edit"].requests
    assert len(sent.images) == 2


async def test_n_results_of_a_feature_with_a_seed_of_its_own_begin_there_and_differ(tmp_path: Path) -> None:
    catalogue = tmp_path / "experiments.yaml"
    stages = "        stages: [qwen_edit, composite]\n        defaults: {seed: 4294967295}\n"
    numbers = "steps: {default: 2, min: 1, max: 9}, guidance_scale: {default: 1, min: 1, max: 9}"
    catalogue.write_text(
        "experiments:\n  - id: own\n    name: Own\n    models: [{model_id: any}]\n    features:\n      - id: edit\n"
        f"        name: Edit\n{stages}        parameters: {{{numbers}, strength: {{default: 1, min: 0, max: 1}}}}\n",
        encoding="utf-8",
    )
    async with door(orchestrator={"experiments": catalogue}) as at:
        for model in ("own", "own/edit"):
            answer = await at.edit(model=model, n=3)
            assert [result.seed for result in answer.data] == [4294967295, 0, 1]


async def test_n_results_have_seeds_of_their_own_and_run_at_once(at: Door) -> None:
    script = at.world.scripts["qwen_edit"]
    script.gate.clear()
    waiting = asyncio.ensure_future(at.edit(n=3, extra_body={"seed": 5}))
    await eventually(lambda: script.running == 3)
    script.gate.set()
    answer = await waiting
    assert [result.seed for result in answer.data] == [5, 6, 7]
    assert sorted(sent.seed for sent in script.requests) == [5, 6, 7]
    assert len({result.request_id for result in answer.data}) == 1, "one edit makes them"
    assert len({decoded(answer, place) for place in range(3)}) == 3


@pytest.mark.parametrize(("form", "magic"), [("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF"), ("png", b"\x89PNG")])
async def test_results_come_in_the_format_that_is_asked_for(at: Door, form: Any, magic: bytes) -> None:
    compression = {} if form == "png" else {"output_compression": 60}
    answer = await at.edit(output_format=form, **compression)
    assert answer.output_format == form
    assert decoded(answer).startswith(magic)


async def test_the_pictures_own_size_may_be_named(at: Door) -> None:
    assert (await at.edit(size="64x48")).size == "64x48"
    assert (await at.edit(size="auto")).size == "64x48"


async def test_a_result_behind_a_url_is_fetched_without_a_token_by_its_name_alone(at: Door) -> None:
    answer = await at.edit(response_format="url", output_format="webp")
    url = answer.data[0].url
    assert url.startswith(f"{PUBLIC_URL}/v1/images/results/")
    assert answer.data[0].b64_json is None
    path = url.removeprefix(PUBLIC_URL)
    async with httpx2.AsyncClient(base_url=at.url) as client:
        found = await client.get(path)
        assert (found.status_code, found.headers["content-type"]) == (200, "image/webp")
        assert found.content.startswith(b"RIFF")
        other = await client.get(path[:-10] + "a" * 5 + ".webp")
        assert (other.status_code, other.json()["error"]["code"]) == (404, "not_found")


async def test_a_stream_brings_partial_images_and_ends_with_the_result(at: Door) -> None:
    script = at.world.scripts["qwen_edit"]
    script.steps = 20
    stream = await at.edit(stream=True, partial_images=2, extra_body={"steps": 20, "strength": 1.0, "seed": 3})
    events = [event async for event in stream]
    assert [event.type for event in events] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    assert [event.partial_image_index for event in events[:-1]] == [0, 1]
    assert script.requests[0].preview_every == 6
    for event in events[:-1]:
        assert (event.output_format, event.size, event.quality) == ("jpeg", "32x24", "medium")
        assert base64.b64decode(event.b64_json).startswith(b"\xff\xd8\xff")
    done = events[-1]
    assert (done.size, done.output_format, done.background, done.usage.total_tokens) == ("64x48", "png", "opaque", 0)
    alone = await at.edit(extra_body={"steps": 20, "strength": 1.0, "seed": 3})
    assert base64.b64decode(done.b64_json) == decoded(alone)


async def test_what_fails_in_mid_stream_is_its_last_event(at: Door) -> None:
    script = at.world.scripts["qwen_edit"]
    script.fault_step = 2
    script.faults = [grpc.StatusCode.FAILED_PRECONDITION]
    stream = await at.edit(stream=True)
    with pytest.raises(openai.APIError, match="scripted") as caught:
        assert not [event async for event in stream]
    assert caught.value.body["code"] == "failed_precondition"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_cancels_the_edit(at: Door, stream: bool) -> None:
    script = at.world.scripts["qwen_edit"]
    script.gate.clear()

    async def watched() -> None:
        answer = await at.edit(stream=stream)
        if stream:
            async for _ in answer:
                pass

    leaving = asyncio.ensure_future(watched())
    await eventually(lambda: script.running == 1)
    leaving.cancel()
    await eventually(lambda: script.cancelled == 1)
    await eventually(lambda: REGISTRY.get_sample_value("imgedit_openai_edits_in_flight") == 0)
    assert script.steps_done == 0 or script.running == 0


async def test_a_deadline_is_the_callers_and_ends_the_edit(at: Door) -> None:
    script = at.world.scripts["qwen_edit"]
    script.gate.clear()
    with pytest.raises(openai.APIStatusError) as caught:
        await at.edit(extra_headers={"grpc-timeout": "700m"})
    assert caught.value.status_code == 504
    assert caught.value.response.headers["x-should-retry"] == "false"
    await eventually(lambda: script.running == 0)


@pytest.mark.parametrize(
    ("parameters", "param", "said"),
    [
        ({"size": "512x512"}, "size", "must be auto or 64x48"),
        ({"size": "large"}, "size", "WIDTHxHEIGHT"),
        ({"size": "64x48", "extra_body": {"outpaint": {"left": 8}}}, "size", "auto with outpaint"),
        ({"n": 5}, "n", "must be 1 to 4, is 5"),
        ({"n": 0}, "n", "must be 1 to 4, is 0"),
        ({"n": 2, "stream": True}, "n", "must be 1 with stream"),
        ({"partial_images": 1}, "partial_images", "must be 0 without stream"),
        ({"partial_images": 4, "stream": True}, "partial_images", "must be 0 to 3, is 4"),
        ({"output_format": "gif"}, "output_format", "must be one of png, jpeg, webp; is 'gif'"),
        ({"output_compression": 50}, "output_compression", "PNG"),
        ({"output_compression": 0, "output_format": "webp"}, "output_compression", "1 to 100"),
        ({"quality": "xhigh"}, "quality", "must be one of auto, low, medium, high"),
        ({"quality": "low", "extra_body": {"profile": "high"}}, "quality", "exclude each other"),
        ({"background": "blue"}, "background", "must be one of auto, transparent, opaque, whole, keep, remove"),
        ({"background": "transparent", "output_format": "jpeg"}, "output_format", "JPEG"),
        ({"background": "opaque", "image": upload(hole((0, 0, 9, 9)))}, "background", "alpha channel"),
        ({"input_fidelity": "high"}, "input_fidelity", "cannot be honoured here"),
        ({"extra_body": {"moderation": "low"}}, "moderation", "cannot be honoured here"),
        ({"extra_body": {"url": ["https://example.org/a.png"]}}, "url[]", "not a parameter"),
        ({"extra_body": {"stepz": 20}}, "stepz", "the nearest is steps"),
        ({"extra_body": {"steps": 3}}, "steps", "must be 10 to 50, is 3"),
        ({"extra_body": {"steps": "many"}}, "steps", "must be a whole number, is 'many'"),
        ({"extra_body": {"steps": 20, "num_inference_steps": 30}}, "steps", "is given 2 times"),
        ({"extra_body": {"strength": "nan"}}, "strength", "must be a number, is 'nan'"),
        ({"extra_body": {"seed": -1}}, "seed", "must be 0 to 4294967295"),
        ({"n": 2, "extra_body": {"seed": 4294967295}}, "seed", "must leave room"),
        ({"extra_body": {"outpaint": {"left": 5000}}}, "outpaint[left]", "4096"),
        ({"model": INPAINTING, "extra_body": {"mask_options": {"grow_px": 300}}}, "mask_options[grow_px]", "256"),
        ({"extra_body": {"loras": ["ink:"]}}, "loras", "NAME or NAME:SCALE, for instance ink:0.8; is 'ink:'"),
        ({"extra_body": {"loras": ":2"}}, "loras", "NAME or NAME:SCALE"),
        ({"extra_body": {"loras": [""]}}, "loras", "NAME or NAME:SCALE"),
        ({"extra_body": {"loras": "ink:strong"}}, "loras", "must be a number, is 'strong'"),
        ({"extra_body": {"loras": ["ink:nan"]}}, "loras", "must be a number, is 'nan'"),
        ({"extra_body": {"loras": [{"name": "a", "scale": 1}, {"name": "b"}]}}, "loras", "2 names and 1 scales"),
        ({"extra_body": {"loras": [{"scale": 1}]}}, "loras", "0 names and 1 scales"),
        ({"extra_body": {"loras": [{"name": "a"}, "b"]}}, "loras", "are both"),
        ({"extra_body": {"loras": {"ink": 1}}}, "loras[ink]", "the nearest is loras"),
        ({"model": INPAINTING, "extra_body": {"loras": ["a", "b", "c", "d"]}}, "loras", "at most 3, holds 4"),
        ({"model": INPAINTING, "extra_body": {"loras": ["a:9"]}}, "loras[0][scale]", "must be -4 to 4, is 9"),
        ({"model": INPAINTING, "extra_body": {"loras": ["ink"]}}, "loras[0][name]", "no LoRA"),
        ({"prompt": ""}, "prompt", "must not be empty"),
        ({"image": upload(b"GIF89a")}, "image", "looks like GIF"),
        ({"mask": upload(picture())}, "mask", "no transparent pixel"),
        ({"mask": upload(png(Image.new("RGBA", (64, 48), (9, 9, 9, 255))))}, "mask", "no transparent pixel"),
        ({"mask": upload(b"nonsense")}, "mask", "not a PNG, JPEG or WebP file"),
        ({"mask": upload(hole((0, 0, 9, 9), (48, 48)))}, "mask", "48x48 px but the picture is 64x48"),
        ({"extra_headers": {"x-imgedit-request-id": "a b"}}, "x-imgedit-request-id", "must be 1 to 64 letters"),
        ({"extra_headers": {"grpc-timeout": "soon"}}, "grpc-timeout", "1 to 8 digits"),
        ({"extra_headers": {"origin": "https://evil.example"}}, "origin", "must not be sent"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_its_name(
    at: Door, parameters: dict[str, Any], param: str, said: str
) -> None:
    found = await refusal(at, **parameters)
    assert (found["status"], found["type"], found["param"]) == (400, "invalid_request_error", param)
    assert said in found["message"]
    assert found["message"].startswith(f"{param}:")


@pytest.mark.parametrize("model", ["gpt-image-2", "ben2_flux_fill/nothing", "nowhere/inpainting"])
async def test_a_model_that_there_is_not_is_named(at: Door, model: str) -> None:
    found = await refusal(at, model=model)
    assert (found["status"], found["param"], found["code"]) == (404, "model", "model_not_found")


async def test_an_experiment_alone_means_the_feature_for_the_request_else_its_first(at: Door) -> None:
    masked = await at.edit(model="ben2_qwen_image", mask=upload(hole((0, 0, 9, 9))))
    wide = await at.edit(model="ben2_flux_fill", extra_body={"outpaint": {"left": 8}})
    first = await at.edit(model="ben2_flux_fill")
    models = [answer.data[0].model for answer in (masked, wide, first)]
    assert models == [APPEARANCE, OUTPAINTING, INPAINTING]


async def test_a_korean_prompt_that_was_translated_is_returned_as_revised(at: Door) -> None:
    answer = await at.edit(model=APPEARANCE, prompt="빨간 옷")
    assert answer.data[0].revised_prompt is None, "the model reads Korean itself"


async def test_a_request_id_is_the_callers_and_comes_back(at: Door) -> None:
    raw = await at.client.images.with_raw_response.edit(
        image=upload(), prompt="a gym", extra_headers={"x-imgedit-request-id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == raw.headers["x-imgedit-request-id"] == "mine-1"
    body = json.loads(raw.text)
    assert body["data"][0]["request_id"] == "mine-1"


BOUNDARY = "b0undary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes, *, filename: str | None = None, extra: str = "") -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n{extra}\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


@pytest.mark.parametrize(
    ("content_type", "body", "param", "said"),
    [
        ("application/json", b"{}", "content-type", "must be multipart/form-data, is 'application/json'"),
        ("multipart/form-data", END, "content-type", "must name the boundary"),
        (FORM, b"nonsense", "body", "not valid multipart/form-data"),
        (FORM, part("prompt", b"x"), "body", "ends before the last boundary"),
        (FORM, part("prompt", b"x") + END, "image", "is missing"),
        (FORM, part("image", b"x") + END, "image", "must be a file"),
        (FORM, part("prompt", b"x", filename="a.txt") + END, "prompt", "must be a text"),
        (FORM, part("prompt", b"\xff") + END, "prompt", "must be UTF-8"),
        (FORM, part("prompt", b"x") * 2 + part("image", picture(), filename="a") + END, "prompt", "is given 2 times"),
        (FORM, part("prompt", b"x" * 70_000) + END, "prompt", "at most 65536 bytes"),
        (FORM, part("user", b"x") * 65 + END, "body", "at most 64 parts"),
        (
            FORM,
            part("image", b"eA==", filename="a", extra="Content-Transfer-Encoding: base64\r\n") + END,
            "image",
            "as it is",
        ),
        (FORM, (part("image", picture(), filename="a") * 17) + END, "image", "at most 16 pictures, are 17"),
    ],
)
async def test_a_body_that_is_no_such_form_is_refused(
    at: Door, content_type: str, body: bytes, param: str, said: str
) -> None:
    async with httpx2.AsyncClient() as client:
        answer = await client.post(f"{at.url}/v1/images/edits", content=body, headers={"content-type": content_type})
    assert answer.status_code == 400, answer.text
    found = answer.json()["error"]
    assert (found["param"], found["code"]) == (param, "invalid_field")
    assert said in found["message"]


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/v1/images/generations", "POST", 404), ("/v1/models", "POST", 405)]
)
async def test_other_paths_and_methods_are_refused_in_their_shape(
    at: Door, path: str, method: str, status: int
) -> None:
    async with httpx2.AsyncClient() as client:
        answer = await client.request(method, f"{at.url}{path}")
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


async def test_requests_are_counted_as_the_other_services_count_rpcs(at: Door) -> None:
    def count(code: str) -> float:
        labels = {"service": "openai_api", "rpc": "ImagesEdits", "code": code}
        return REGISTRY.get_sample_value("imgedit_rpc_duration_seconds_count", labels) or 0

    done, refused = count("OK"), count("INVALID_ARGUMENT")
    await at.edit()
    await refusal_of(at)
    await eventually(lambda: count("OK") == done + 1)
    assert count("INVALID_ARGUMENT") == refused + 1


async def refusal_of(at: Door) -> None:
    with pytest.raises(openai.BadRequestError):
        await at.edit(n=9)


# Doors of other settings, before the same world.


async def test_a_body_over_the_limit_is_refused_before_it_is_held(shared: Door) -> None:
    async with before(shared.world, max_request_bytes=5_000) as small:
        with pytest.raises(openai.APIStatusError) as caught:
            await small.edit()
        assert caught.value.status_code == 413
        assert caught.value.body["code"] == "request_too_large"

        async def long() -> AsyncIterator[bytes]:  # whose length no header tells
            for _ in range(200):
                yield b"x" * 1000

        head = part("image", b"", filename="a")[:-2]
        async with httpx2.AsyncClient(timeout=60) as client:
            answer = await client.post(
                f"{small.url}/v1/images/edits", content=prefixed(head, long()), headers={"content-type": FORM}
            )
        assert answer.status_code == 413


async def prefixed(head: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    sent = 0
    async for chunk in rest:
        yield chunk
        sent += len(chunk)
        if sent > 50_000:
            return


async def test_without_a_public_url_there_are_no_urls(shared: Door) -> None:
    async with before(shared.world) as other:
        with pytest.raises(openai.BadRequestError, match="no public URL") as caught:
            await other.edit(response_format="url")
        assert caught.value.param == "response_format"


async def test_more_than_may_run_at_once_is_refused_with_a_time_to_come_again(shared: Door) -> None:
    script = shared.world.scripts["qwen_edit"]
    script.gate.clear()
    async with before(shared.world, max_edits=4, max_requests=2) as small:
        first = asyncio.ensure_future(small.edit(n=3))
        await eventually(lambda: script.running == 3)
        with pytest.raises(openai.RateLimitError) as caught:
            await small.edit(n=2)
        assert caught.value.code == "rate_limit_exceeded"
        assert caught.value.response.headers["x-should-retry"] == "true"
        assert int(caught.value.response.headers["retry-after-ms"]) == 1000
        second = asyncio.ensure_future(small.edit())
        await eventually(lambda: script.running == 4)
        with pytest.raises(openai.RateLimitError, match="2 requests are in flight"):
            await small.edit()
        script.gate.set()
        assert len((await first).data) == 3
        assert len((await second).data) == 1


async def test_a_slow_sender_is_given_up(shared: Door) -> None:
    async with before(shared.world, receive_seconds=0.2) as hasty:
        reader, writer = await asyncio.open_connection("127.0.0.1", hasty.server.port)
        head = f"POST /v1/images/edits HTTP/1.1\r\nhost: x\r\ncontent-type: {FORM}\r\ncontent-length: 1000\r\n\r\n"
        writer.write(head.encode() + part("prompt", b"x"))
        await writer.drain()
        assert b"504" in await asyncio.wait_for(reader.readline(), 60)
        writer.close()
        await writer.wait_closed()


async def test_tokens_and_their_scopes_are_those_of_the_orchestrator() -> None:
    made = [
        tokens.make_token(f"caller{n}", scopes) for n, scopes in enumerate((("edit", "list"), ("edit",), ("list",)))
    ]
    (both, edits_only, lists_only), lines = [token for token, _ in made], ";".join(found.line for _, found in made)
    async with door(orchestrator={"tokens": lines}, api_key=both) as at:
        assert (await at.edit()).data
        stranger = at.client.with_options(api_key="imgedit_nobodys")
        with pytest.raises(openai.AuthenticationError) as unknown:
            await stranger.images.edit(image=upload(), prompt="a gym")
        assert unknown.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()
        with pytest.raises(openai.PermissionDeniedError, match="edit"):
            await at.client.with_options(api_key=lists_only).images.edit(image=upload(), prompt="a gym")
        editor = at.client.with_options(api_key=edits_only)
        with pytest.raises(openai.PermissionDeniedError, match="name the model as experiment/feature"):
            await editor.images.edit(image=upload(), prompt="a gym")
        assert (await editor.images.edit(image=upload(), prompt="a gym", model=APPEARANCE)).data
