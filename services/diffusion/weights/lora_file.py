"""Reads a LoRA file: the names of every common trainer, each entry accounted for.

A file pairs two matrices, down (r, in) and up (out, r), with each layer that it changes. Entries use the layer names of
diffusers' transformer or of the original model (where query, key and value are one), with dots or underscores, behind
one of several prefixes. All transformer entries must fit; the part for text encoders is ignored. A `Layout` names the
original layers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from imgedit.errors import ModelLoadError
from imgedit.remarks import Remark
from imgedit.weights.safetensors_header import Entry, read_header
from services.common.weights_faults import refuse_unfit, shortened
from services.diffusion.weights.original_names import Layout, shapes_of
from services.diffusion.weights.stored_weights import FORMATS

PREFIXES = (
    "base_model.model.",  # PEFT
    "model.diffusion_model.",
    "diffusion_model.",  # ComfyUI, ai-toolkit
    "transformer.",  # diffusers
    "lora_unet_",  # kohya, musubi-tuner
    "lora_transformer_",  # OneTrainer
)
TEXT_ENCODER = re.compile(r"(base_model\.model\.)?(text_encoders?(_\d)?\.|lora_te\d?_|text_model\.|te\d?\.)")
PAIRED = re.compile(
    r"(?P<layer>.+)\.(?:(?P<down>lora_down|lora_A|lora\.down)|lora_up|lora_B|lora\.up)(\.default)?\.weight"
)
ALPHA = ".alpha"
OTHER_KINDS = {"lokr_": "a LoKr", "hada_": "a LoHa", "dora_scale": "a DoRA", "lora_magnitude_vector": "a DoRA"}
"""Other known entries of such files, by a part of their names."""

METADATA = "lora_adapter_metadata"
PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class Target:
    """The target of a matrix pair: layers whose stacked outputs are the rows of `up`.

    halves_swapped: the rows of `up` have swapped halves. narrow: a smaller number of inputs that the LoRA may have, the
    first ones of this layer; None = not allowed.
    """

    layers: tuple[str, ...]
    inputs: int
    outputs: tuple[int, ...]
    halves_swapped: bool = False
    narrow: int | None = None


@dataclass(frozen=True)
class LoraWeights:
    """The matrices for `load_lora_adapter`, with alpha multiplied in.

    left_out: entries for text encoders.
    """

    matrices: dict[str, torch.Tensor]
    left_out: tuple[str, ...]


@dataclass
class _Pair:
    """The names of a file's entries for one layer."""

    down: str | None = None
    up: str | None = None
    alpha: str | None = None


@dataclass(frozen=True)
class LoraPlan:
    """A LoRA file whose entries fit a transformer by their names and shapes.

    pairs: by target. numbers: how many its matrices have in the transformer. left_out: entries for text encoders.
    """

    path: Path
    pairs: Mapping[str, _Pair]
    scale: _Scale
    numbers: int
    left_out: tuple[str, ...]


def targets_of(transformer: Any, layout: Layout, narrow: Mapping[str, int]) -> dict[str, Target]:
    """Every layer that a LoRA can change, by all its names.

    narrow: see `Target`, by the layer's name.
    """
    linear = {name: module for name, module in transformer.named_modules() if isinstance(module, nn.Linear)}
    groups: dict[str, tuple[str, ...]] = {name: (name,) for name in linear}
    for name, parts in layout.names(transformer.config, shapes_of(transformer)).items():
        if all(part.removesuffix(".weight") in linear for part in parts):
            groups[name.removesuffix(".weight")] = tuple(part.removesuffix(".weight") for part in parts)
    targets = {}
    for name, layers in groups.items():
        targets[name] = targets[name.replace(".", "_")] = Target(
            layers,
            inputs=linear[layers[0]].in_features,
            outputs=tuple(linear[layer].out_features for layer in layers),
            halves_swapped=bool(layout.halves_swapped) and f"{name}.".startswith(layout.halves_swapped),
            narrow=narrow.get(layers[0]),
        )
    return targets


def read_lora(path: Path, targets: Mapping[str, Target], model: str) -> LoraWeights:
    """Read a LoRA file for a transformer with these layers.

    Raises `ModelLoadError`, one line that names the file.
    """
    plan = check_lora(path, targets, model)
    tensors = _tensors(plan)
    refuse_unfit(path, f"a LoRA for {model}", {"not finite": _not_finite(plan, tensors)})
    matrices: dict[str, torch.Tensor] = {}
    for name, pair in plan.pairs.items():
        matrices |= _matrices(pair, targets[name], plan.scale, tensors)
    return LoraWeights(matrices, plan.left_out)


def check_lora(path: Path, targets: Mapping[str, Target], model: str) -> LoraPlan:
    """Check a LoRA file by its header, without reading a tensor.

    Raises as `read_lora` does.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        raise ModelLoadError(f"{path}: a LoRA must be an existing .safetensors file")
    entries = read_header(path)
    left_out = tuple(name for name in entries if TEXT_ENCODER.match(name))
    own = {name: entry for name, entry in entries.items() if name not in left_out}
    _refuse_other_kinds(path, own)
    if not own:
        raise ModelLoadError(f"{path}: holds no LoRA for the transformer")
    places = {name: place for name in own if (place := _place(name, targets)) is not None}
    faults = {
        "of no layer": [repr(name[:80]) for name in own if name not in places],
        "in a foreign number format": [
            f"{name!r} is {own[name].dtype}"
            for name, (_, part) in places.items()
            if own[name].dtype not in FORMATS and part != "alpha"
        ],
    }
    refuse_unfit(path, f"a LoRA for {model}", faults)
    pairs = _pairs(path, places)
    refuse_unfit(path, f"a LoRA for {model}", _faults(pairs, targets, own))
    numbers = sum(
        own[pair.down or ""].shape[0] * (len(target.layers) * target.inputs + sum(target.outputs))
        for pair, target in ((pair, targets[name]) for name, pair in pairs.items())
    )
    return LoraPlan(path, pairs, _Scale.from_metadata(path, _metadata(path)), numbers, left_out)


def _refuse_other_kinds(path: Path, entries: Mapping[str, Entry]) -> None:
    for mark, kind in OTHER_KINDS.items():
        if names := [repr(name[:80]) for name in entries if mark in name]:
            raise ModelLoadError(
                f"{path}: {kind}, and only LoRAs can be used: {len(names)} entries ({shortened(names)})"
            )


def _place(name: str, targets: Mapping[str, Target]) -> tuple[str, str] | None:
    """The layer of an entry, by one of its names, and its role: down, up or alpha.

    None for an unknown entry.
    """
    match = PAIRED.fullmatch(name)
    if match is None and not name.endswith(ALPHA):
        return None
    layer = name.removesuffix(ALPHA) if match is None else match["layer"]
    while layer not in targets:
        prefix = next((prefix for prefix in PREFIXES if layer.startswith(prefix)), None)
        if prefix is None:
            return None
        layer = layer.removeprefix(prefix)
    return layer, "alpha" if match is None else "down" if match["down"] else "up"


def _pairs(path: Path, places: Mapping[str, tuple[str, str]]) -> dict[str, _Pair]:
    """The entries of the file, by layer."""
    pairs: dict[str, _Pair] = {}
    for name, (layer, part) in places.items():
        pair = pairs.setdefault(layer, _Pair())
        if getattr(pair, part) is not None:
            raise ModelLoadError(f"{path}: two entries are the {part} of {layer!r}, one is {name!r}")
        setattr(pair, part, name)
    return pairs


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ModelLoadError(f"{path}: cannot be read: {error}") from error


def _tensors(plan: LoraPlan) -> dict[str, torch.Tensor]:
    """The tensors of the file by name, without those for text encoders."""
    names = [name for pair in plan.pairs.values() for name in (pair.down, pair.up, pair.alpha) if name is not None]
    try:
        with safe_open(plan.path, "pt") as file:
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise ModelLoadError(f"{plan.path}: cannot be read: {error}") from error


def _faults(
    pairs: Mapping[str, _Pair], targets: Mapping[str, Target], entries: Mapping[str, Entry]
) -> dict[str, list[str]]:
    """The misfits of the matrices, by kind of fault."""
    owners: dict[str, list[str]] = {}
    for name in pairs:
        for layer in targets[name].layers:
            owners.setdefault(layer, []).append(name)
    whole = {name: (pair.down, pair.up) for name, pair in pairs.items() if pair.down and pair.up}
    return {
        "without its other half": [repr(name) for name in pairs if name not in whole],
        "for a layer that another is for too": [repr(name) for names in owners.values() for name in names[1:]],
        "misshapen": [
            f"{name!r} is {[*entries[up].shape]} by {[*entries[down].shape]} instead of "
            f"[{sum(targets[name].outputs)}, r] by [r, {targets[name].inputs}]"
            for name, (down, up) in whole.items()
            if not _fits(entries[down].shape, entries[up].shape, targets[name])
            or not _is_number(entries.get(pairs[name].alpha or ""))
        ],
    }


def _not_finite(plan: LoraPlan, tensors: Mapping[str, torch.Tensor]) -> list[str]:
    faults = {name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())}
    return [repr(name) for name, pair in plan.pairs.items() if faults & {pair.down, pair.up, pair.alpha}]


def _fits(down: tuple[int, ...], up: tuple[int, ...], target: Target) -> bool:
    """Whether matrices of these shapes fit the target."""
    ranks_agree = len(down) == len(up) == 2 and down[0] == up[1] > 0
    return ranks_agree and down[1] in (target.inputs, target.narrow) and up[0] == sum(target.outputs)


def _is_number(alpha: Entry | None) -> bool:
    return alpha is None or math.prod(alpha.shape) == 1


def _matrices(pair: _Pair, target: Target, scale: _Scale, tensors: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """A pair in diffusers' form.

    alpha is multiplied into `down`, `up` is cut into the layers' rows.
    """
    down, up = tensors[pair.down or ""], tensors[pair.up or ""]
    alpha = None if pair.alpha is None else float(tensors[pair.alpha])
    if target.halves_swapped:
        up = up.roll(len(up) // 2, dims=0)
    if down.shape[1] < target.inputs:
        down = nn.functional.pad(down, (0, target.inputs - down.shape[1]))
    matrices = {}
    for layer, rows in zip(target.layers, up.split(target.outputs), strict=True):
        matrices[f"{layer}.lora_A.weight"] = down * scale.of_layer(layer, len(down), alpha)
        matrices[f"{layer}.lora_B.weight"] = rows.contiguous()
    return matrices


@dataclass(frozen=True)
class _Scale:
    """The strength of each pair: its own alpha, else the metadata's, else 1.

    alphas: by patterns of layer names, as PEFT matches them. rank_stabilised: alpha / √r instead of alpha / r.
    """

    alpha: float | None
    alphas: Mapping[str, float]
    rank_stabilised: bool

    @classmethod
    def from_metadata(cls, path: Path, metadata: Mapping[str, str]) -> _Scale:
        """Read the strengths from diffusers' metadata or PEFT's configuration file."""
        beside = path.with_name(PEFT_CONFIG)
        try:
            if path.name == PEFT_FILE and beside.is_file():
                config = json.loads(beside.read_text(encoding="utf-8"))
            else:
                config = json.loads(metadata.get(METADATA, "{}"))
            config = {str(key).removeprefix("transformer."): value for key, value in config.items()}
            if config.get("use_dora"):
                raise ModelLoadError(f"{path}: a DoRA, and only LoRAs can be used")
            alpha = config.get("lora_alpha")
            patterns = {str(key): float(value) for key, value in (config.get("alpha_pattern") or {}).items()}
            return cls(None if alpha is None else float(alpha), patterns, bool(config.get("use_rslora")))
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelLoadError(f"{path}: its metadata cannot be read") from error

    def of_layer(self, layer: str, rank: int, alpha: float | None) -> float:
        """The factor of one pair.

        alpha: its own, None = none.
        """
        if alpha is None:
            matching = (value for name, value in self.alphas.items() if _matches(name, layer))
            alpha = next(matching, self.alpha)
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)


def _matches(pattern: str, layer: str) -> bool:
    return re.fullmatch(rf"(.*\.)?({pattern})", layer) is not None


def without_text_encoders(field: str, name: str, left_out: Sequence[str]) -> Remark:
    """The warning about the ignored part of a LoRA.

    field: of the request. name: as the caller knows it.
    """
    return Remark(
        f"{field}: the LoRA {name} has a part for text encoders ({len(left_out)} of its entries), which is not "
        "used; the picture may differ from other tools' pictures",
        f"LoRA {name}의 텍스트 인코더 부분(항목 {len(left_out)}개)은 쓰이지 않았습니다. "
        "다른 도구의 결과와 다를 수 있습니다.",
    )
