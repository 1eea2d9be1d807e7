"""The plain network and its two prepared forms agree at every size."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from demo.tiny import ben2 as tiny
from services.segmentation.ben2 import BEN2, BEN2Config
from services.segmentation.ben2.accelerator import AcceleratedBEN2
from services.segmentation.ben2.attention import attend
from services.segmentation.ben2.backbone import SwinBlock
from services.segmentation.ben2.cpu import PreparedBEN2
from services.segmentation.ben2.cpu.backbone import Windows
from services.segmentation.ben2.cpu.convolution import Conv3, DoubledConv3, bordered, instance_affine, norm_gelu
from services.segmentation.ben2.cpu.decoder import FoldedAttention
from services.segmentation.ben2.cpu.network import _shallow_at_centres
from services.segmentation.ben2.cpu.rows import Linear
from services.segmentation.ben2.cpu.scratch import Scratch
from services.segmentation.ben2.decoder import CrossAttention, Refinement, join_quadrants, quadrants

pytestmark = pytest.mark.slow

SIDE = tiny.CONFIG.image_size


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_network(config: BEN2Config) -> BEN2:
    """Every parameter matters and logits are about one, so the sigmoid hides nothing."""
    network = BEN2(config)
    generator = torch.Generator().manual_seed(5)
    for parameter in network.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        nn.init.normal_(parameter, std=scale, generator=generator)
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def network() -> BEN2:
    return random_network(tiny.CONFIG)


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return noise(2, 3, SIDE, SIDE)


@pytest.fixture(scope="module")
def masks(network: BEN2, pictures: Tensor) -> Tensor:
    return torch.cat([network(picture[None]) for picture in pictures])


def test_alpha_is_between_zero_and_one_and_depends_on_the_picture(masks: Tensor) -> None:
    assert masks.shape == (2, 1, SIDE, SIDE)
    assert 0 <= masks.min() < 0.4
    assert 0.6 < masks.max() <= 1
    assert (masks[0] - masks[1]).abs().mean() > 0.01


def test_a_batch_equals_single_calls(network: BEN2, pictures: Tensor, masks: Tensor) -> None:
    assert torch.allclose(network(pictures), masks, atol=1e-4)


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_the_prepared_network_computes_the_same_in_a_batch_and_alone(
    network: BEN2, pictures: Tensor, masks: Tensor, dtype: torch.dtype, off: float
) -> None:
    prepared = PreparedBEN2(network, dtype)
    alone = torch.cat([prepared(picture[None]) for picture in pictures])
    batch = prepared(pictures)
    assert torch.allclose(alone, masks, atol=off)
    assert (alone - masks).abs().mean() < off / 10
    assert torch.allclose(batch, alone, atol=off / 2)
    assert (batch - alone).abs().mean() < off / 50
    assert torch.equal(prepared(pictures), batch)


def test_the_prepared_network_takes_any_memory_format(network: BEN2, pictures: Tensor, masks: Tensor) -> None:
    prepared = PreparedBEN2(network, torch.float32)
    assert torch.allclose(prepared(pictures.contiguous(memory_format=torch.channels_last)), masks, atol=1e-4)


@pytest.mark.parametrize(
    "sizes",
    [
        {"window_size": 7, "depths": (1, 1, 3, 1)},
        {"image_size": 128, "localization_pool_ratios": (1, 2), "refinement_pool_ratios": (2, 4)},
        {"embed_dim": 24, "num_heads": (3, 3, 6, 6), "decoder_dim": 20, "mlp_ratio": 3},
    ],
)
def test_the_prepared_network_follows_the_config(sizes: dict[str, object]) -> None:
    network = random_network(replace(tiny.CONFIG, **sizes))  # type: ignore[arg-type]
    picture = noise(1, 3, network.config.image_size, network.config.image_size)
    assert torch.allclose(PreparedBEN2(network, torch.float32)(picture), network(picture), atol=1e-4)


def test_the_accelerated_network_computes_the_same(network: BEN2, pictures: Tensor, masks: Tensor) -> None:
    assert torch.allclose(AcceleratedBEN2(network, "cpu", torch.float32)(pictures), masks, atol=1e-4)
    half = AcceleratedBEN2(network, "cpu", torch.bfloat16)(pictures)
    assert half.dtype == torch.float32
    assert (half - masks).abs().mean() < 0.01
    assert next(network.parameters()).dtype == torch.float32
    assert not any(getattr(module, "fused", False) for module in network.modules())


def test_only_the_repeated_blocks_are_compiled(network: BEN2, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    AcceleratedBEN2(network, "cpu", torch.float32)
    assert compiled == []
    AcceleratedBEN2(network, "cpu", torch.float32, compile_blocks=True)
    assert {type(module) for module in compiled} == {SwinBlock, Refinement}
    assert len(compiled) == sum(tiny.CONFIG.depths) + 4


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (3, SIDE, SIDE), (1, 1, SIDE, SIDE)])
def test_a_picture_of_another_size_is_refused(network: BEN2, shape: tuple[int, ...]) -> None:
    for run in (network, PreparedBEN2(network, torch.float32)):
        with pytest.raises(ValueError, match=rf"BEN2 takes \(B, 3, {SIDE}, {SIDE}\)"):
            run(torch.zeros(shape))


def test_a_constant_picture_gives_a_finite_mask(network: BEN2) -> None:
    picture = torch.full((1, 3, SIDE, SIDE), 0.25)
    for dtype in (torch.float32, torch.bfloat16):
        assert PreparedBEN2(network, dtype)(picture).isfinite().all()


def test_the_network_can_be_trained() -> None:
    network = BEN2(replace(tiny.CONFIG, depths=(1, 1, 1, 1)))
    network(noise(1, 3, SIDE, SIDE)).mean().backward()
    unused = {name for name, p in network.named_parameters() if p.grad is None}
    assert unused == {f"sideout{level}.0.{kind}" for level in range(1, 6) for kind in ("weight", "bias")}


def test_quadrants_come_row_by_row_and_join_again() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert quadrants(x)[0, :, 0, 0, 0].tolist() == [0, 2, 8, 10]
    assert torch.equal(join_quadrants(quadrants(x)), x)


def test_fused_attention_is_attention() -> None:
    q, k, v, bias = noise(6, 2, 9, 4), noise(6, 2, 5, 4, seed=1), noise(6, 2, 5, 4, seed=2), noise(1, 2, 9, 5, seed=3)
    assert torch.allclose(attend(q, k, v, bias, fused=True), attend(q, k, v, bias, fused=False), atol=1e-5)


def test_a_gpu_takes_fused_attention_in_every_block(
    network: BEN2, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the biases must have whole rows; on the CPU any layout goes."""
    strides: list[int] = []
    attention = functional.scaled_dot_product_attention

    def spy(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        if attn_mask is not None:
            strides.append(attn_mask.stride(-1))
        return attention(q, k, v, attn_mask=attn_mask)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    AcceleratedBEN2(network, "cpu", torch.float32)(pictures)
    assert len(strides) >= sum(tiny.CONFIG.depths)
    assert set(strides) == {1}


def test_every_token_has_one_place_in_the_windows() -> None:
    windows = Windows(side=8, window=6, shift=3, heads=2)
    source, target, kinds = windows.tables(views=3)
    assert windows.count == 4
    assert source.shape == (3, 12, 2 * 36)
    assert kinds.shape == (12,)
    query = source[0].flatten()
    assert torch.equal(query[target].view(-1, 2), torch.arange(3 * 64)[:, None] * 6 + torch.arange(2))
    assert (query // 6 == 3 * 64).sum() == 2 * (12 * 36 - 3 * 64)  # what is left is padding


def test_the_gathered_convolution_is_the_convolution() -> None:
    layer, scratch = nn.Conv2d(5, 7, 3, padding=1), Scratch(torch.float32)
    x = noise(2, 5, 6, 6)
    padded, inside = bordered(scratch, "x", 2, 6, 5)
    inside.copy_(x.permute(0, 2, 3, 1))
    out = Conv3(layer, scratch, normed=False)(padded, torch.empty(2, 36, 7))
    assert torch.allclose(out.view(2, 6, 6, 7).permute(0, 3, 1, 2), layer(x), atol=1e-5)
    unbiased = Conv3(layer, scratch)(padded, torch.empty(2, 36, 7))
    assert layer.bias is not None
    assert torch.allclose(unbiased + layer.bias, out, atol=1e-5)


def test_a_convolution_of_the_doubled_picture_is_computed_at_the_original_size() -> None:
    layer, scratch = nn.Conv2d(5, 7, 3, padding=1, bias=False), Scratch(torch.float32)
    x = noise(1, 5, 6, 6)
    padded, inside = bordered(scratch, "x", 1, 6, 5)
    inside.copy_(x.permute(0, 2, 3, 1))
    out = DoubledConv3(layer, scratch)(padded, torch.empty(1, 49, 28)).view(7, 7, 2, 2, 7)
    doubled = out.transpose(1, 2).reshape(14, 14, 7)[1:-1, 1:-1].permute(2, 0, 1)
    assert torch.allclose(doubled, layer(functional.interpolate(x, scale_factor=2.0, mode="nearest"))[0], atol=1e-5)


@pytest.mark.parametrize("times", [2, 4])
def test_shallow_features_are_computed_where_they_are_looked_at(times: int) -> None:
    layer = nn.Conv2d(3, 5, 3, padding=1)
    x = noise(1, 3, 16, 16)
    wanted = functional.interpolate(layer(x), size=(16 // times, 16 // times), mode="bilinear")
    prepared = _shallow_at_centres(layer, torch.float32)
    weight = prepared.weight.t().reshape(5, 3, 4, 4)
    found = functional.conv2d(x, weight, prepared.bias, stride=times, padding=1 if times == 2 else 0)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_attention_with_folded_weights_is_the_attention() -> None:
    attention = CrossAttention(8)
    nn.init.normal_(attention.in_proj_bias, generator=torch.Generator().manual_seed(1))
    folded = FoldedAttention(attention, torch.float32)
    x, pools = noise(6, 8), noise(9, 8, seed=1)
    weights = (folded.query.into(torch.empty(6, 8), x) @ pools.t()).softmax(-1)
    found = folded.output.into(torch.empty(6, 8), weights @ pools)
    assert torch.allclose(found, attention(x[None], pools[None], pools[None])[0], atol=1e-5)


def test_norm_and_gelu_in_place_are_instance_norm_and_gelu() -> None:
    x = noise(2, 50, 6) * 3 + 5
    wanted = functional.gelu(functional.instance_norm(x.transpose(1, 2))).transpose(1, 2)
    assert torch.allclose(norm_gelu(x.clone()), wanted, atol=1e-5)


def test_pixels_outside_the_picture_do_not_count_in_the_norm() -> None:
    x = noise(40, 6) + 2
    padded = torch.cat((x, torch.zeros(9, 6)))
    for found, wanted in zip(instance_affine(padded, excluded=9), instance_affine(x), strict=True):
        assert torch.allclose(found, wanted, atol=1e-5)


def test_the_norm_of_a_constant_is_zero() -> None:
    scale, shift = instance_affine(torch.full((64, 3), 7.0))
    assert torch.allclose(7.0 * scale + shift, torch.zeros(3), atol=1e-2)


def test_a_layer_adds_to_its_residual() -> None:
    layer = nn.Linear(4, 6)
    x, total = noise(5, 4), noise(5, 6, seed=1)
    assert torch.allclose(Linear.of(layer, torch.float32).onto(total.clone(), x), total + layer(x), atol=1e-5)


def test_a_buffer_is_kept_until_a_larger_one_is_needed() -> None:
    scratch = Scratch(torch.bfloat16)
    first = scratch.take("x", 4, 4)
    assert first.dtype == torch.bfloat16
    assert scratch.take("x", 2, 3).data_ptr() == first.data_ptr()
    assert scratch.take("x", 5, 5).shape == (5, 5)
    assert scratch.take("y", 2).data_ptr() != first.data_ptr()


def test_the_default_config_is_the_official_one() -> None:
    with torch.device("meta"):
        assert BEN2().config == BEN2Config()
