"""How much room the transformer gets.

Nothing that another network or the work needs is promised to it.
"""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel, QwenImageTransformer2DModel

from services.diffusion.activations import Activations
from services.diffusion.networks import device as devices
from services.diffusion.networks.memory_plan import WORKSPACE, Headroom, headroom, room_for_transformer
from services.diffusion.networks.runtime_options import RuntimeOptions, offloads
from services.diffusion.weights.gguf_weights import choose_weights
from services.fill import memory_needs as fill_needs
from services.qwen_edit import memory_needs as qwen_needs
from services.qwen_edit.vae import SingleImageVae, replace_convolutions
from tests.support import activations

CUDA, BF16 = torch.device("cuda"), torch.bfloat16
GB = 10**9
QWEN_TRANSFORMER = {"all": (20_430_401_088,)}
QWEN_ENCODER, QWEN_VAE = 16_584_333_312, 254_000_000
SIDE, LATENT = 1024, 128


def weights(nbytes: int) -> torch.nn.Module:
    network = torch.nn.Module()
    network.weight = torch.nn.Parameter(torch.empty(nbytes, dtype=torch.uint8, device="meta"), requires_grad=False)
    return network


def room(monkeypatch: pytest.MonkeyPatch, free: int, beside: Headroom, **runtime: Any) -> int:
    monkeypatch.setattr(devices, "free_bytes", lambda _: free)
    others = {"text_encoder": weights(QWEN_ENCODER), "vae": weights(QWEN_VAE)}
    return room_for_transformer(others, offloads(RuntimeOptions(**runtime), [*others, "transformer"]), CUDA, beside)


@pytest.mark.parametrize(
    ("card", "runtime", "expected"),
    [
        (48, {"text_encoder_offload": "model"}, "stored"),
        (48, {"offload": "model"}, "stored"),
        (64, {"offload": "model"}, "dense"),
        (64, {"text_encoder_offload": "model"}, "dense"),
        (64, {}, "stored"),
        (80, {}, "dense"),
    ],
)
def test_auto_keeps_the_room_that_the_text_encoder_and_the_work_need(
    card: int, runtime: dict[str, Any], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qwen-Image-Edit's published sizes on cards of so many 10^9 bytes.

    Less CUDA's share.
    """
    beside = headroom(qwen_needs.ACTIVATIONS, answer=2**21, pictures=6 * 2**20, jobs=4, dtype=BF16, vae_dtype=BF16)
    found = room(monkeypatch, (card - 1) * GB, beside, **runtime)
    assert choose_weights("auto", QWEN_TRANSFORMER, BF16, found) == expected


@pytest.mark.parametrize(
    ("runtime", "taken"),
    [
        ({}, WORKSPACE + QWEN_ENCODER + QWEN_VAE + 9),
        ({"text_encoder_offload": "model"}, WORKSPACE + QWEN_VAE + QWEN_ENCODER),
        ({"text_encoder_offload": "sequential"}, WORKSPACE + QWEN_VAE + QWEN_ENCODER),  # which has one layer here
        ({"offload": "model"}, WORKSPACE + 5),
        ({"offload": "model", "text_encoder_offload": "none"}, WORKSPACE + QWEN_ENCODER + 5),
        ({"offload": "group"}, 50 * GB),
        ({"offload": "sequential"}, 0),
    ],
)
def test_what_must_be_there_besides_is_counted(
    runtime: dict[str, Any], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert room(monkeypatch, 100 * GB, Headroom(step=5, decode=9), **runtime) == 100 * GB - taken


def test_a_network_that_is_on_the_device_already_is_not_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_bytes", lambda _: 100 * GB)
    others, beside = {"text_encoder": weights(QWEN_ENCODER), "vae": weights(QWEN_VAE)}, Headroom(step=5, decode=9)
    resting = offloads(RuntimeOptions(), [*others, "transformer"])
    there = room_for_transformer(others, resting, torch.device("meta"), beside)
    assert there == 100 * GB - WORKSPACE - 9
    assert room_for_transformer(others, resting, CUDA, beside) == there - QWEN_ENCODER - QWEN_VAE


def test_headroom_grows_with_the_work_and_the_number_format() -> None:
    small = {"answer": 1000, "pictures": 2000, "jobs": 1, "dtype": BF16, "vae_dtype": BF16}
    one = headroom(qwen_needs.ACTIVATIONS, **small)  # type: ignore[arg-type]
    assert one == Headroom(step=375 * 2000, decode=1350 * 1000)
    many = headroom(qwen_needs.ACTIVATIONS, **{**small, "jobs": 4, "vae_dtype": torch.float32})  # type: ignore[arg-type]
    assert many == Headroom(step=4 * one.step, decode=2 * one.decode)
    assert RuntimeOptions(max_batch=3, cfg_batch="on").rows == 6


def empty(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, dtype=BF16, device="meta")


@pytest.fixture(scope="module")
def flux() -> tuple[Any, Any]:
    """The VAE, and two blocks of each kind of the transformer.

    One block's tensors are freed before the next.
    """
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=16,
            use_quant_conv=False,
            use_post_quant_conv=False,
        )
        network = FluxTransformer2DModel(
            in_channels=384, out_channels=64, guidance_embeds=True, num_layers=2, num_single_layers=2
        )
    return vae.to(BF16), network.to(BF16)


def test_the_activations_of_flux_are_those_of_its_published_sizes(flux: tuple[Any, Any]) -> None:
    vae, network = flux
    tokens = SIDE**2 // 256

    def step() -> None:
        network(
            hidden_states=empty(1, tokens, 384),
            encoder_hidden_states=empty(1, 512, 4096),
            pooled_projections=empty(1, 768),
            timestep=empty(1),
            guidance=empty(1).float(),
            img_ids=empty(tokens, 3).float(),
            txt_ids=empty(512, 3).float(),
        )

    check(fill_needs.ACTIVATIONS, lambda: vae.decode(empty(1, 16, LATENT, LATENT)), step, pictures=1)


def test_the_activations_of_qwen_are_those_of_its_published_sizes() -> None:
    with torch.device("meta"):
        vae = SingleImageVae(dim_mult=[1, 2, 4, 4], temperal_downsample=[False, True, True])
        replace_convolutions(vae)
        network = QwenImageTransformer2DModel(num_layers=2).to(BF16)
    vae = vae.to(BF16)
    tokens = SIDE**2 // 256

    def step() -> None:
        network(
            hidden_states=empty(1, 2 * tokens, 64),
            encoder_hidden_states=empty(1, 512, 3584),
            timestep=empty(1),
            img_shapes=[[(1, SIDE // 16, SIDE // 16)] * 2],
        )

    check(qwen_needs.ACTIVATIONS, lambda: vae.decode(empty(1, 16, 1, LATENT, LATENT)), step, pictures=2)


def check(expected: Activations, decode: Any, step: Any, *, pictures: int) -> None:
    for counted, work, pixels in ((expected.decode, decode, SIDE**2), (expected.step, step, pictures * SIDE**2)):
        assert 0.97 * counted < activations.peak(work) / pixels <= counted
