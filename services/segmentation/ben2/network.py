"""The BEN2 network: a normalised image in, a soft foreground mask out.

Plain, differentiable PyTorch with the state-dict names of the official checkpoint: the reference for the prepared
network, and the network to train.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.segmentation.ben2.backbone import SwinBackbone
from services.segmentation.ben2.config import VIEWS, BEN2Config
from services.segmentation.ben2.decoder import Localization, Refinement, join_quadrants, quadrants


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _conv_norm_gelu(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_conv3(inputs, outputs), nn.InstanceNorm2d(outputs), nn.GELU())


def _resize(x: Tensor, side: int) -> Tensor:
    return functional.interpolate(x, size=(side, side), mode="bilinear")


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class BEN2(nn.Module):
    """The network "BEN2 base" (PramaLLC, MIT) in the sizes of `config`.

    The five `sideout` convolutions serve training only; they are in every checkpoint and not used in `forward`.
    """

    def __init__(self, config: BEN2Config | None = None) -> None:
        super().__init__()
        self.config = config = config or BEN2Config()
        dim = config.decoder_dim
        self.backbone = SwinBackbone(config)
        for level in (5, 4, 3, 2, 1):
            self.add_module(f"sideout{level}", nn.Sequential(_conv3(dim, 1)))
        for level, width in zip((5, 4, 3, 2, 1), (*reversed(config.stage_dims), config.embed_dim), strict=True):
            self.add_module(f"output{level}", _conv_norm_gelu(width, dim))
        self.multifieldcrossatt = Localization(dim, config.localization_pool_ratios)
        for level in (1, 2, 3, 4):
            self.add_module(f"conv{level}", _conv_norm_gelu(dim, dim))
        for level in (1, 2, 3, 4):
            self.add_module(f"dec_blk{level}", Refinement(dim, config.refinement_pool_ratios))
        self.insmask_head = nn.Sequential(
            *_conv_norm_gelu(dim, config.head_dim),
            *_conv_norm_gelu(config.head_dim, config.head_dim),
            _conv3(config.head_dim, dim),
        )
        self.shallow = nn.Sequential(_conv3(3, dim))
        self.upsample1 = _conv_norm_gelu(dim, dim)
        self.upsample2 = _conv_norm_gelu(dim, dim)
        self.output = nn.Sequential(_conv3(dim, 1))

    def conv(self, path: str) -> nn.Conv2d:
        """The convolution at `path`, for instance "output5.0"."""
        return cast("nn.Conv2d", self.get_submodule(path))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S), ImageNet-normalised -> (B, 1, S, S) alpha in [0, 1].

        S = `config.image_size`. Raises ValueError for an image of another size.
        """
        side = self.config.image_size
        if x.ndim != 4 or x.shape[1:] != (3, side, side):
            raise ValueError(f"BEN2 takes (B, 3, {side}, {side}), got {tuple(x.shape)}")
        views = torch.cat((quadrants(x), _resize(x, side // 2)[:, None]), dim=1)  # (B, 5, 3, S / 2, S / 2)
        features = self.backbone(views.flatten(0, 1))
        local, whole = self._decode(features)
        return self._mask(local, whole, self.shallow(x)).sigmoid()

    def _decode(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Five backbone maps (B * 5, C, h, w) -> local and whole.

        local: (B, 4, D, S / 8, S / 8); whole: (B, D, S / 8, S / 8).
        """
        laterals = [self.get_submodule(f"output{level}")(f) for level, f in enumerate(features, start=1)]
        views = laterals[4].unflatten(0, (-1, VIEWS))
        local, whole = self.multifieldcrossatt(views[:, :4], views[:, 4])
        for level in (4, 3, 2, 1):
            lateral = laterals[level - 1]
            coarse = torch.cat((local, whole[:, None]), dim=1).flatten(0, 1)
            views = (lateral + _resize(coarse, lateral.shape[-1])).unflatten(0, (-1, VIEWS))
            local, whole = self.get_submodule(f"dec_blk{level}")(views[:, :4], views[:, 4])
            refined = torch.cat((local, whole[:, None]), dim=1).flatten(0, 1)
            views = self.get_submodule(f"conv{level}")(refined).unflatten(0, (-1, VIEWS))
            local, whole = views[:, :4], views[:, 4]
        return local, whole

    def _mask(self, local: Tensor, whole: Tensor, shallow: Tensor) -> Tensor:
        """Decoded views and shallow features (B, D, S, S) -> logits (B, 1, S, S)."""
        joined = join_quadrants(local)  # (B, D, S / 4, S / 4)
        mask = self.insmask_head(joined + _resize(whole, joined.shape[-1]))
        mask = self.upsample1(_double(mask + _resize(shallow, mask.shape[-1])))
        mask = self.upsample2(_double(mask + _resize(shallow, mask.shape[-1])))
        logits: Tensor = self.output(mask)
        return logits
