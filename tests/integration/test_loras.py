"""LoRAs of requests, from ListExperiments to the model service.

With an orchestrator over real gRPC.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from imgedit.call_errors import error_of
from imgedit.errors import InvalidArgument
from imgedit.imaging import provenance
from imgedit.v1 import edit_pb2, lora_pb2

from .scripted import World, request, world

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

OFFERED = {"fill": ["ink", "oil", "수채화", "both"], "qwen_edit": ["neon", "both"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served() -> AsyncIterator[World]:
    async with world(loras={service: [*names] for service, names in OFFERED.items()}) as running:
        yield running


def use(name: str, scale: float | None = None) -> lora_pb2.LoraUse:
    return lora_pb2.LoraUse(name=name, scale=scale)


async def features(served: World) -> dict[str, edit_pb2.Feature]:
    listed = await served.stub.ListExperiments(edit_pb2.ListExperimentsRequest())
    return {feature.id: feature for experiment in listed.experiments for feature in experiment.features}


async def refusal(served: World, *uses: lora_pb2.LoraUse, **fields: Any) -> InvalidArgument:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.Edit(request(loras=uses, **fields))
    error = error_of(caught.value, "orchestrator")
    assert isinstance(error, InvalidArgument)
    return error


async def test_a_feature_lists_the_loras_that_fit_its_model(served: World) -> None:
    found = await features(served)
    inpainting, appearance = found["inpainting"], found["appearance_editing"]
    assert [(lora.name, lora.model_id) for lora in inpainting.loras] == [
        (name, "FLUX.1-Fill") for name in OFFERED["fill"]
    ]
    assert [lora.name for lora in appearance.loras] == OFFERED["qwen_edit"]
    assert {lora.model_id for lora in appearance.loras} == {"Qwen-Image-Edit-2509"}
    [spec] = [spec for spec in inpainting.parameters if spec.name == "loras"]
    assert "LoRA" in spec.help["ko"]


async def test_an_edit_sends_its_loras_and_names_them_in_the_answer_and_the_file(served: World) -> None:
    answer = await served.stub.Edit(request(loras=[use("수채화", 0.8), use("ink")]))
    sent = [(one.name, one.scale) for one in served.fill.requests[-1].loras]
    assert sent == [("수채화", 0.8), ("ink", 1.0)]
    assert [(one.name, one.scale) for one in answer.effective.loras] == sent
    record = provenance.read_record(answer.output_image)
    assert record is not None
    assert record.effective["loras"] == [{"name": "수채화", "scale": 0.8}, {"name": "ink", "scale": 1.0}]
    again = provenance.request_of(record, request().input_image)
    assert [one.name for one in again.loras] == ["수채화", "ink"]


async def test_a_request_without_loras_sends_none(served: World) -> None:
    answer = await served.stub.Edit(request())
    assert not served.fill.requests[-1].loras
    assert not answer.effective.loras


async def test_a_name_of_the_other_model_or_of_none_is_refused_with_the_nearest(served: World) -> None:
    calls = served.fill.calls
    unknown = await refusal(served, use("ink"), use("ikn"))
    assert [violation.field for violation in unknown.violations] == ["loras[1].name"]
    assert "nearest is 'ink'" in unknown.message
    assert "'ink'" in unknown.korean
    assert [violation.field for violation in (await refusal(served, use("neon"))).violations] == ["loras[0].name"]
    assert served.fill.calls == calls


async def test_a_file_that_has_just_come_needs_no_wait(served: World) -> None:
    served.fill.loras.append("fresh")
    try:
        await served.stub.Edit(request(loras=[use("fresh")]))
    finally:
        served.fill.loras.remove("fresh")
    assert [one.name for one in served.fill.requests[-1].loras] == ["fresh"]


@pytest.mark.parametrize(
    ("uses", "field"),
    [
        ([use("ink"), use("oil"), use("수채화"), use("both")], "loras"),
        ([use("ink"), use("ink", 0.5)], "loras[1].name"),
        ([use("")], "loras[0].name"),
        ([use("ink", 4.5)], "loras[0].scale"),
        ([use("ink", -4.5)], "loras[0].scale"),
        ([use("oil"), use("ink", math.nan)], "loras[1].scale"),
        ([use("../../etc/passwd")], "loras[0].name"),
        ([use("x" * 1_000_000)], "loras[0].name"),
    ],
)
async def test_bad_loras_are_refused_by_field(served: World, uses: list[lora_pb2.LoraUse], field: str) -> None:
    error = await refusal(served, *uses)
    assert [violation.field for violation in error.violations] == [field]
    assert len(error.message) < 1000
