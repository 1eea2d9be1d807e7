"""The names of FLUX's transformer tensors in GGUF files.

GGUF files use the original names, where query, key and value are one matrix. diffusers uses other names and separate
matrices. The tables below map them.
"""

from collections.abc import Mapping
from typing import Any

from diffusers import FluxTransformer2DModel

from services.diffusion.weights.layout import Layout

DOUBLE: dict[str, tuple[str, ...]] = {
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
SINGLE: dict[str, tuple[str, ...]] = {
    "modulation.lin": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
}
OUTER: dict[str, tuple[str, ...]] = {
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "final_layer.linear": ("proj_out",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
}
DOUBLE_SCALES = {
    "img_attn.norm.query_norm.scale": "attn.norm_q.weight",
    "img_attn.norm.key_norm.scale": "attn.norm_k.weight",
    "txt_attn.norm.query_norm.scale": "attn.norm_added_q.weight",
    "txt_attn.norm.key_norm.scale": "attn.norm_added_k.weight",
}
SINGLE_SCALES = {"norm.query_norm.scale": "attn.norm_q.weight", "norm.key_norm.scale": "attn.norm_k.weight"}

HALVES_SWAPPED = "final_layer.adaLN_modulation.1."
"""The original layer gives shift then scale, diffusers' norm_out wants scale then shift."""


def name_table(config: Mapping[str, Any], shapes: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """GGUF tensor name → its diffusers parameters in row order.

    Only the model's own tensors.
    """
    table: dict[str, tuple[str, ...]] = {}
    groups: list[tuple[str, str, dict[str, tuple[str, ...]], dict[str, str]]] = [("", "", OUTER, {})]
    groups += [
        (f"double_blocks.{i}.", f"transformer_blocks.{i}.", DOUBLE, DOUBLE_SCALES) for i in range(config["num_layers"])
    ]
    groups += [
        (f"single_blocks.{i}.", f"single_transformer_blocks.{i}.", SINGLE, SINGLE_SCALES)
        for i in range(config["num_single_layers"])
    ]
    for prefix, target, layers, scales in groups:
        for source, parts in layers.items():
            for kind in ("weight", "bias"):
                table[f"{prefix}{source}.{kind}"] = tuple(f"{target}{part}.{kind}" for part in parts)
        table |= {f"{prefix}{source}": (f"{target}{part}",) for source, part in scales.items()}
    return {source: parts for source, parts in table.items() if parts[0] in shapes}


LAYOUT = Layout("FLUX.1-Fill", FluxTransformer2DModel, name_table, halves_swapped=(HALVES_SWAPPED,))
