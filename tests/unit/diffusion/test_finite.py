"""NaN and infinity, wherever they arise, end their own job as an error.

None becomes a black picture.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from prometheus_client import REGISTRY

from imgedit.errors import InternalError, NumericFailure, from_status, to_status
from services.diffusion.engine.engine import Engine
from services.diffusion.networks import device as devices
from services.diffusion.networks.offload import Offload
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.fill.model import load_fill as load_fill
from services.qwen_edit.model import load_qwen_edit as load_qwen
from services.qwen_edit.rewrite_instructions import RewriteSpec
from tests.support.engine import SMALL, checkpoint, fill_spec, finish, photo, qwen_spec, with_engine

pytestmark = pytest.mark.slow

FLUX, QWEN = "FLUX.1-Fill-dev", "Qwen-Image-Edit-2509"
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["fill", "qwen_edit"])
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(service: str) -> Any:
    """A separate adapter without a cache, whose networks a test may damage."""
    if service == "fill":
        return load_fill(checkpoint(FLUX), device="cpu", cache_bytes=0)
    return load_qwen(checkpoint(QWEN), device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, cache_bytes=0)


def spec_of(service: str, **changes: Any) -> Any:
    return fill_spec(**changes) if service == "fill" else qwen_spec(**changes)


def counted(service: str, part: str) -> float:
    return REGISTRY.get_sample_value("imgedit_engine_not_finite_total", {"service": service, "part": part}) or 0.0


@contextmanager
def planted(
    module: torch.nn.Module, value: float, when: Callable[[torch.Tensor], bool] = lambda _: True
) -> Iterator[None]:
    """The module's output has this value in one place."""

    def damage(_module: Any, _inputs: Any, output: Any) -> Any:
        tensor = output if isinstance(output, torch.Tensor) else output[0]
        if when(tensor):
            tensor[..., -1] = value  # of the last channel or column: what stands first may be cut away
        return output

    handle = module.register_forward_hook(damage)
    try:
        yield
    finally:
        handle.remove()


def places(service: str, model: Any) -> dict[str, torch.nn.Module]:
    """A module of each network, by the part under which its numbers are judged."""
    pipeline = model._pipeline
    is_fill = service == "fill"
    encoder = pipeline.text_encoder_2.encoder if is_fill else pipeline.text_encoder.model.language_model
    return {
        "prompt": encoder.final_layer_norm if is_fill else encoder.norm,
        "image": pipeline.vae.encoder.conv_out,
        "denoise": pipeline.transformer.proj_out,
        "decode": pipeline.vae.decoder.mid_block,
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["prompt", "image", "denoise", "decode"])
def test_a_number_that_is_none_ends_its_job_and_no_other(service: str, model: Any, part: str, value: float) -> None:
    before = counted(service, part)

    async def scenario(engine: Engine[Any, Any, Any]) -> None:
        with planted(places(service, model)[part], value), pytest.raises(NumericFailure) as caught:
            await finish(engine, spec_of(service))
        assert f"not finite ({part})" in caught.value.message
        assert f"IMGEDIT_{service.upper()}_DTYPE" in caught.value.message
        assert f"IMGEDIT_{service.upper()}_ATTENTION" in caught.value.message
        await finish(engine, spec_of(service))

    with_engine(model, scenario, name=service)
    assert counted(service, part) == before + 1


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_one_damaged_weight_ends_the_job(service: str, model: Any, value: float) -> None:
    weight = model._pipeline.transformer.transformer_blocks[0].attn.to_q.weight
    kept = weight[0, 0].item()
    weight[0, 0] = value
    try:
        state = model.prepare(spec_of(service))
        with pytest.raises(NumericFailure):
            model.denoise([state])
        assert state.step == 0
        assert bool(state.latents.isfinite().all())
    finally:
        weight[0, 0] = kept


def test_a_damaged_member_of_a_batch_does_not_take_the_others_along(service: str, model: Any) -> None:
    """A row of the batch holds NaN.

    Both jobs run again by themselves, and the sound one is finished.
    """

    async def scenario(engine: Engine[Any, Any, Any]) -> None:
        damaged, sound = spec_of(service, seed=1), spec_of(service, seed=2)
        prepare = model.prepare

        def prepared(spec: Any) -> Any:
            state = prepare(spec)
            if spec is damaged:
                state.latents = torch.full_like(state.latents, float("nan"))
            return state

        model.prepare = prepared
        try:
            outcomes = await asyncio.gather(finish(engine, damaged), finish(engine, sound), return_exceptions=True)
        finally:
            del model.prepare
        assert isinstance(outcomes[0], NumericFailure)
        assert not isinstance(outcomes[1], BaseException)

    with_engine(model, scenario, name=service)


@pytest.mark.parametrize("offload", ["none", "model", "sequential"])
def test_a_picture_that_overflows_in_half_precision_is_decoded_in_float32(
    service: str, offload: Offload, caplog: pytest.LogCaptureFixture
) -> None:
    folder = checkpoint(FLUX if service == "fill" else QWEN)
    load = load_fill if service == "fill" else load_qwen
    model: Any = load(folder, device="cpu", runtime=RuntimeOptions(offload=offload))
    vae = model._pipeline.vae.to(torch.bfloat16)
    weights = [weight.clone() for weight in vae.parameters()]
    state = model.prepare(spec_of(service, steps=1))
    model.denoise([state])
    before = counted(service, "decode")
    with (
        caplog.at_level(logging.WARNING, "services.diffusion.networks.finite"),
        planted(vae.decoder.mid_block, float("inf"), when=lambda tensor: tensor.dtype == torch.bfloat16),
    ):
        pixels = model.decode_float(state)
    assert bool(pixels.isfinite().all())
    assert pixels.dtype == torch.float32
    assert vae.dtype == torch.bfloat16
    assert all(torch.equal(now, then) for now, then in zip(vae.parameters(), weights, strict=True))
    assert counted(service, "decode") == before + 1
    assert "again in float32" in caplog.text


@pytest.fixture(scope="module")
def qwen_model() -> Any:
    return load_qwen(checkpoint(QWEN), device="cpu", reference_pixels=SMALL, condition_pixels=SMALL)


def test_a_prompt_that_is_no_number_is_not_remembered(qwen_model: Any) -> None:
    model = qwen_model
    with planted(places("qwen_edit", model)["prompt"], float("nan")), pytest.raises(NumericFailure):
        model.prepare(qwen_spec(prompt="red"))
    assert bool(model.prepare(qwen_spec(prompt="red")).positive.isfinite().all())


def test_a_rewritten_prompt_is_not_chosen_among_numbers_that_are_none(qwen_model: Any) -> None:
    model = qwen_model
    with planted(model._pipeline.text_encoder.lm_head, float("nan")), pytest.raises(NumericFailure, match="rewrite"):
        model.rewrite(RewriteSpec("translate", "옷을 빨간색으로", max_tokens=8), lambda: False)


def test_a_mask_does_not_hide_numbers_that_are_none(qwen_model: Any) -> None:
    model = qwen_model
    mask = np.zeros((64, 96), np.uint8)
    mask[:32] = 255
    state = model.prepare(qwen_spec(images=(photo(),), mask=mask))
    with planted(places("qwen_edit", model)["denoise"], float("nan")), pytest.raises(NumericFailure):
        model.denoise([state])


def test_a_service_whose_first_job_fails_does_not_start(model: Any, service: str) -> None:
    with planted(places(service, model)["denoise"], float("nan")), pytest.raises(NumericFailure):
        model.warm_up()


@pytest.mark.parametrize("load", [load_fill, load_qwen])
def test_the_vae_never_runs_in_float16(load: Any) -> None:
    model = load(checkpoint(FLUX if load is load_fill else QWEN), device="cpu", dtype="float16")
    assert model._pipeline.vae.dtype == torch.float32
    assert model._pipeline.transformer.dtype == torch.float16
    service = "fill" if load is load_fill else "qwen_edit"
    state = model.prepare(spec_of(service, steps=1))
    assert state.latents.dtype == torch.float16
    assert bool(model.decode_float(state).isfinite().all())


def test_the_vaes_format_is_bfloat16_where_the_device_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    for has_it, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has_it=has_it, **_: has_it)
        assert devices.vae_dtype(torch.float16, cuda) == expected
    assert devices.vae_dtype(torch.float16, CPU) == torch.float32
    assert devices.vae_dtype(torch.bfloat16, CPU) == torch.bfloat16


def test_the_error_has_a_reason_of_its_own_and_korean_advice() -> None:
    error = from_status(to_status(NumericFailure("The model's numbers are not finite.")))
    assert type(error) is NumericFailure
    assert isinstance(error, InternalError)
    assert (error.code.name, error.reason) == ("INTERNAL", "NUMERIC_FAILURE")
    assert "DTYPE 또는 ATTENTION" in error.korean
