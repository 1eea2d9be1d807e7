"""ComfyUI's nodes that have a counterpart: their outputs and relevant inputs.

Names and types only; what a node becomes is decided where the chain is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Type = Literal["IMAGE", "MASK", "LATENT", "MODEL", "CLIP", "VAE", "CONDITIONING"]
ValueType = Literal["text", "whole", "number", "switch"]


@dataclass(frozen=True)
class Kind:
    """One class of nodes.

    values: inputs that hold no link. An optional input may be missing.
    """

    outputs: tuple[Type, ...] = ()
    links: Mapping[str, Type] = field(default_factory=dict)
    optional_links: Mapping[str, Type] = field(default_factory=dict)
    values: Mapping[str, ValueType] = field(default_factory=dict)
    optional_values: Mapping[str, ValueType] = field(default_factory=dict)
    without_part: tuple[str, ...] = ()
    """Inputs that decide nothing here: file names for saving, ways of scaling, where a network is held."""


_REMOVER_VALUES: dict[str, ValueType] = {
    "sensitivity": "number",
    "mask_blur": "whole",
    "mask_offset": "whole",
    "invert_output": "switch",
    "background": "text",
    "background_color": "text",
}
_REMOVER_OTHERS = ("model", "process_res", "refine_foreground", "optimize")

SEGMENTERS: dict[str, Kind] = {
    "BEN2BackgroundRemoval": Kind(("IMAGE", "MASK"), {"image": "IMAGE"}),
    "BackgroundEraseNetwork": Kind(("IMAGE", "MASK"), {"input_image": "IMAGE"}),
    "RMBG": Kind(
        ("IMAGE", "MASK", "IMAGE"),
        {"image": "IMAGE"},
        optional_values=_REMOVER_VALUES,
        without_part=_REMOVER_OTHERS,
    ),
    "BiRefNetRMBG": Kind(
        ("IMAGE", "MASK", "IMAGE"),
        {"image": "IMAGE"},
        optional_values=_REMOVER_VALUES,
        without_part=_REMOVER_OTHERS,
    ),
}
"""Nodes that find the subject; here BEN2 does, whatever network they name. They give the cut-out and its mask."""

SCALERS: dict[str, Kind] = {
    "ImageScale": Kind(
        ("IMAGE",),
        {"image": "IMAGE"},
        values={"width": "whole", "height": "whole"},
        optional_values={"crop": "text"},
        without_part=("upscale_method",),
    ),
    "ImageScaleBy": Kind(
        ("IMAGE",), {"image": "IMAGE"}, values={"scale_by": "number"}, without_part=("upscale_method",)
    ),
    "ImageScaleToTotalPixels": Kind(
        ("IMAGE",),
        {"image": "IMAGE"},
        values={"megapixels": "number"},
        without_part=("upscale_method", "resolution_steps"),
    ),
    "ImageScaleToMaxDimension": Kind(
        ("IMAGE",), {"image": "IMAGE"}, values={"largest_size": "whole"}, without_part=("upscale_method",)
    ),
    "FluxKontextImageScale": Kind(("IMAGE",), {"image": "IMAGE"}),
}

TEXT_ENCODERS: dict[str, Kind] = {
    "CLIPTextEncode": Kind(("CONDITIONING",), {"clip": "CLIP"}, values={"text": "text"}),
    "TextEncodeQwenImageEdit": Kind(
        ("CONDITIONING",), {"clip": "CLIP"}, {"vae": "VAE", "image": "IMAGE"}, values={"prompt": "text"}
    ),
    "TextEncodeQwenImageEditPlus": Kind(
        ("CONDITIONING",),
        {"clip": "CLIP"},
        {"vae": "VAE", "image1": "IMAGE", "image2": "IMAGE", "image3": "IMAGE"},
        values={"prompt": "text"},
    ),
}

SAMPLERS: dict[str, Kind] = {
    "KSampler": Kind(
        ("LATENT",),
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"},
        values={
            "seed": "whole",
            "steps": "whole",
            "cfg": "number",
            "sampler_name": "text",
            "scheduler": "text",
            "denoise": "number",
        },
        without_part=("control_after_generate",),
    ),
    "KSamplerAdvanced": Kind(
        ("LATENT",),
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"},
        values={
            "add_noise": "text",
            "noise_seed": "whole",
            "steps": "whole",
            "cfg": "number",
            "sampler_name": "text",
            "scheduler": "text",
            "start_at_step": "whole",
            "end_at_step": "whole",
            "return_with_leftover_noise": "text",
        },
        without_part=("control_after_generate",),
    ),
}

MODEL_LOADERS: dict[str, Kind] = {
    "UNETLoader": Kind(("MODEL",), values={"unet_name": "text"}, without_part=("weight_dtype",)),
    "UnetLoaderGGUF": Kind(("MODEL",), values={"unet_name": "text"}),
}

CLIP_LOADERS: dict[str, Kind] = {
    "CLIPLoader": Kind(("CLIP",), values={"clip_name": "text", "type": "text"}, without_part=("device",)),
    "CLIPLoaderGGUF": Kind(("CLIP",), values={"clip_name": "text", "type": "text"}, without_part=("device",)),
    "DualCLIPLoader": Kind(
        ("CLIP",), values={"clip_name1": "text", "clip_name2": "text", "type": "text"}, without_part=("device",)
    ),
    "DualCLIPLoaderGGUF": Kind(
        ("CLIP",), values={"clip_name1": "text", "clip_name2": "text", "type": "text"}, without_part=("device",)
    ),
}

ENDS = ("SaveImage", "PreviewImage")

KINDS: dict[str, Kind] = {
    "LoadImage": Kind(("IMAGE", "MASK"), values={"image": "text"}, without_part=("upload", "choose file to upload")),
    "LoadImageMask": Kind(
        ("MASK",), values={"image": "text", "channel": "text"}, without_part=("upload", "choose file to upload")
    ),
    **SEGMENTERS,
    "ImageToMask": Kind(("MASK",), {"image": "IMAGE"}, values={"channel": "text"}),
    "GrowMask": Kind(("MASK",), {"mask": "MASK"}, values={"expand": "whole"}, without_part=("tapered_corners",)),
    "FeatherMask": Kind(
        ("MASK",), {"mask": "MASK"}, values={"left": "whole", "top": "whole", "right": "whole", "bottom": "whole"}
    ),
    "InvertMask": Kind(("MASK",), {"mask": "MASK"}),
    "ThresholdMask": Kind(("MASK",), {"mask": "MASK"}, values={"value": "number"}),
    "ImagePadForOutpaint": Kind(
        ("IMAGE", "MASK"),
        {"image": "IMAGE"},
        values={"left": "whole", "top": "whole", "right": "whole", "bottom": "whole", "feathering": "whole"},
    ),
    **SCALERS,
    **TEXT_ENCODERS,
    "FluxGuidance": Kind(("CONDITIONING",), {"conditioning": "CONDITIONING"}, values={"guidance": "number"}),
    "ConditioningZeroOut": Kind(("CONDITIONING",), {"conditioning": "CONDITIONING"}),
    "InpaintModelConditioning": Kind(
        ("CONDITIONING", "CONDITIONING", "LATENT"),
        {"positive": "CONDITIONING", "negative": "CONDITIONING", "vae": "VAE", "pixels": "IMAGE", "mask": "MASK"},
        optional_values={"noise_mask": "switch"},
    ),
    "DifferentialDiffusion": Kind(("MODEL",), {"model": "MODEL"}, optional_values={"strength": "number"}),
    "ModelSamplingAuraFlow": Kind(("MODEL",), {"model": "MODEL"}, values={"shift": "number"}),
    "ModelSamplingFlux": Kind(
        ("MODEL",),
        {"model": "MODEL"},
        values={"max_shift": "number", "base_shift": "number"},
        without_part=("width", "height"),
    ),
    "CFGNorm": Kind(("MODEL",), {"model": "MODEL"}, values={"strength": "number"}),
    "LoraLoader": Kind(
        ("MODEL", "CLIP"),
        {"model": "MODEL", "clip": "CLIP"},
        values={"lora_name": "text", "strength_model": "number", "strength_clip": "number"},
    ),
    "LoraLoaderModelOnly": Kind(
        ("MODEL",), {"model": "MODEL"}, values={"lora_name": "text", "strength_model": "number"}
    ),
    **MODEL_LOADERS,
    **CLIP_LOADERS,
    "VAELoader": Kind(("VAE",), values={"vae_name": "text"}),
    **SAMPLERS,
    "VAEEncode": Kind(("LATENT",), {"pixels": "IMAGE", "vae": "VAE"}),
    "VAEDecode": Kind(("IMAGE",), {"samples": "LATENT", "vae": "VAE"}),
    "SetLatentNoiseMask": Kind(("LATENT",), {"samples": "LATENT", "mask": "MASK"}),
    "ImageCompositeMasked": Kind(
        ("IMAGE",),
        {"destination": "IMAGE", "source": "IMAGE"},
        {"mask": "MASK"},
        values={"x": "whole", "y": "whole"},
        without_part=("resize_source",),
    ),
    "SaveImage": Kind(links={"images": "IMAGE"}, without_part=("filename_prefix",)),
    "PreviewImage": Kind(links={"images": "IMAGE"}),
}
"""Every known class of nodes by its name in a workflow, without reroutes and primitives."""

PRIMITIVES = ("PrimitiveInt", "PrimitiveFloat", "PrimitiveString", "PrimitiveStringMultiline", "PrimitiveBoolean")
"""Nodes that hold one value in `value`."""


def is_reroute(kind: str) -> bool:
    """Whether nodes of this class pass their only link on.

    These are the reroutes of ComfyUI and of its extensions.
    """
    return kind == "Reroute" or kind.startswith(("Reroute ", "ReroutePrimitive"))
