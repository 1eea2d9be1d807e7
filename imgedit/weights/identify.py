"""Identify the model of a weights file by its tensors' names and shapes.

The file's name distinguishes models that share them. Only the header is read. The services compare every tensor when
they load; here a few tensors that only this model has are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imgedit.errors import ModelLoadError
from imgedit.weights import gguf_header, safetensors_header

FLUX, QWEN, QWEN_2511, BEN2 = "FLUX.1-Fill-dev", "Qwen-Image-Edit-2509", "Qwen-Image-Edit-2511", "BEN2"

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "first_stage_model.", "vae.")
"""A network's place in a whole checkpoint, which some converters leave before every name."""

PICKLES = ("BEN2_Base.pth",)
"""Known by their names: nothing is read from a pickle here."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Identity:
    """The identity of a file.

    models: the folders that can use it; none = it is known, and of no use here. component: the network's folder, ""
    for the model's folder itself, "loras" for a LoRA. what, form: for people, as in "T5-XXL", "float8 with scales".
    """

    models: tuple[str, ...]
    component: str
    what: str
    form: str = ""


@dataclass(frozen=True)
class _Network:
    """A network that is known by its tensors: name → shape."""

    tensors: Shapes
    models: tuple[str, ...]
    component: str
    what: str


NETWORKS = (
    _Network(
        {"double_blocks.0.img_attn.qkv.weight": (9216, 3072), "img_in.weight": (3072, 384)},
        (FLUX,),
        "transformer",
        "the transformer of FLUX.1-Fill",
    ),
    _Network(
        {"transformer_blocks.0.attn.add_k_proj.weight": (3072, 3072), "x_embedder.weight": (3072, 384)},
        (FLUX,),
        "transformer",
        "the transformer of FLUX.1-Fill",
    ),
    _Network({"double_blocks.0.img_attn.qkv.weight": (9216, 3072)}, (), "", "a FLUX.1 transformer, not that of Fill"),
    _Network(
        {"transformer_blocks.59.attn.add_k_proj.weight": (3072, 3072), "txt_in.weight": (3072, 3584)},
        (QWEN, QWEN_2511),
        "transformer",
        "the transformer of Qwen-Image-Edit",
    ),
    _Network(
        {"encoder.block.23.layer.1.DenseReluDense.wo.weight": (4096, 10240), "shared.weight": (32128, 4096)},
        (FLUX,),
        "text_encoder_2",
        "T5-XXL",
    ),
    _Network(
        {
            "text_model.encoder.layers.11.mlp.fc1.weight": (3072, 768),
            "text_model.embeddings.token_embedding.weight": (49408, 768),
        },
        (FLUX,),
        "text_encoder",
        "CLIP-L",
    ),
    _Network(
        {"model.layers.27.mlp.up_proj.weight": (18944, 3584), "visual.blocks.31.attn.qkv.weight": (3840, 1280)},
        (QWEN, QWEN_2511),
        "text_encoder",
        "Qwen2.5-VL-7B",
    ),
    _Network(
        {"decoder.conv_in.weight": (512, 16, 3, 3), "encoder.down.0.block.0.conv1.weight": (128, 128, 3, 3)},
        (FLUX,),
        "vae",
        "the VAE of FLUX.1",
    ),
    _Network(
        {"decoder.conv1.weight": (384, 16, 3, 3, 3), "encoder.conv1.weight": (96, 3, 3, 3, 3)},
        (QWEN, QWEN_2511),
        "vae",
        "the VAE of Qwen-Image",
    ),
    _Network(
        {"backbone.patch_embed.proj.weight": (128, 3, 4, 4), "output1.0.weight": (128, 128, 3, 3)}, (BEN2,), "", "BEN2"
    ),
)
"""The first whose tensors are all in a file is what the file is."""

LORA_MARKS = {"single_": "FLUX.1", "double_blocks": "FLUX.1", "img_mod": "Qwen-Image", "txt_mlp": "Qwen-Image"}
"""Part of an entry's name → what the LoRA is for."""

MARKER_2511 = "__index_timestep_zero__"


def identify(path: Path) -> Identity | None:
    """The file's identity; None = its tensors are of no known model.

    Raises `ModelLoadError` for a damaged file.
    """
    if path.name in PICKLES:
        return Identity((BEN2,), "", "BEN2", "pickle")
    shapes, form = _read(path)
    names = {name for name in shapes if not name.endswith("scaled_fp8")}
    prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in names)), "")
    plain = {name.removeprefix(prefix): shape for name, shape in shapes.items()}
    if any("lora_" in name for name in plain):
        return _lora(plain)
    found = next((network for network in NETWORKS if _holds(plain, network.tensors)), None)
    if found is None:
        return None
    same_names = SAME_NAMES.get(found.what)
    return (same_names or _as_it_is)(
        path.name.lower(), plain, Identity(found.models, found.component, found.what, form)
    )


def _holds(shapes: Shapes, tensors: Shapes) -> bool:
    return all(shapes.get(name) == shape for name, shape in tensors.items())


def _as_it_is(_name: str, _shapes: Shapes, identity: Identity) -> Identity:
    return identity


def _qwen_transformer(name: str, shapes: Shapes, identity: Identity) -> Identity:
    """Identify the release of Qwen-Image.

    The releases share their tensors' names and shapes; the newest has a marker.
    """
    if MARKER_2511 in shapes or "2511" in name:
        return Identity((QWEN_2511,), identity.component, f"{identity.what}-2511", identity.form)
    if "2509" in name:
        return Identity((QWEN,), identity.component, f"{identity.what}-2509", identity.form)
    return Identity(
        (), "", "a transformer of Qwen-Image; only those of Edit-2509 and -2511 are used, by the file's name"
    )


def _qwen_vae(name: str, _shapes: Shapes, identity: Identity) -> Identity:
    """Wan's VAE is the same network with other numbers."""
    return (
        identity if "qwen" in name else Identity((), "", "a VAE like Qwen-Image's; its file's name has no qwen in it")
    )


def _flux_vae(name: str, _shapes: Shapes, identity: Identity) -> Identity:
    """Stable Diffusion 3 has the same network with other numbers."""
    return Identity((), "", "the VAE of Stable Diffusion 3, by its file's name") if "sd3" in name else identity


SAME_NAMES: Mapping[str, Callable[[str, Shapes, Identity], Identity]] = {
    "the transformer of Qwen-Image-Edit": _qwen_transformer,
    "the VAE of Qwen-Image": _qwen_vae,
    "the VAE of FLUX.1": _flux_vae,
}
"""Networks whose tensors another model shares, and how to distinguish them."""


def _lora(shapes: Shapes) -> Identity | None:
    model = next((model for mark, model in LORA_MARKS.items() if any(mark in name for name in shapes)), None)
    if model is None:
        return None
    return Identity((FLUX,) if model == "FLUX.1" else (QWEN,), "loras", f"a LoRA for {model}")


def _read(path: Path) -> tuple[Shapes, str]:
    """The shapes of the file's tensors, and in which form most of its bytes are."""
    if path.suffix == ".gguf":
        tensors = gguf_header.read_header(path)
        of = {name: gguf_header.TYPES[entry.type][0] for name, entry in tensors.items()}
        sizes = {name: entry.nbytes for name, entry in tensors.items()}
        return {name: entry.shape for name, entry in tensors.items()}, f"GGUF, {_most(of, sizes)}"
    entries = safetensors_header.read_header(path)
    form = _most({name: e.dtype for name, e in entries.items()}, {name: e.nbytes for name, e in entries.items()})
    if form == "F8_E4M3":
        scaled = any(name.endswith((".scale_weight", ".weight_scale")) for name in entries)
        form = f"float8_e4m3fn {'with' if scaled else 'without'} scales"
    return {name: entry.shape for name, entry in entries.items()}, form


def _most(kinds: Mapping[str, str], sizes: Mapping[str, int]) -> str:
    """The kind that most bytes are of."""
    totals: dict[str, int] = {}
    for name, kind in kinds.items():
        totals[kind] = totals.get(kind, 0) + sizes[name]
    return max(totals, key=lambda kind: totals[kind], default="empty")


def identified(path: Path) -> tuple[Identity | None, str]:
    """The same, with what is wrong with a damaged file instead of an exception."""
    try:
        return identify(path), ""
    except ModelLoadError as error:
        return None, error.message
