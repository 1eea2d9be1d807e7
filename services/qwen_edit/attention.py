"""Qwen-Image's attention where keys and values are kept for region steps.

See `services.diffusion.networks.kept_keys`.
"""

from typing import Any

import torch
from diffusers.models.transformers.transformer_qwenimage import apply_rotary_emb_qwen

from services.diffusion.networks.kept_keys import KeyKeeper, Tables


class KeepingAttention:
    """The attention processor of one block.

    usual: diffusers' processor, which runs if no keys are kept or used.
    """

    def __init__(self, usual: Any, keeper: KeyKeeper, block: int) -> None:
        self._usual, self._keeper, self._block = usual, keeper, block

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_mask: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> Any:
        """Attention of pictures (`hidden_states`) and text.

        encoder_hidden_states_mask: the text tokens that count.
        """
        if self._keeper.forward is None or image_rotary_emb is None:
            return self._usual(
                attn,
                hidden_states,
                encoder_hidden_states,
                encoder_hidden_states_mask,
                attention_mask,
                image_rotary_emb,
            )
        return self._keyed(attn, hidden_states, encoder_hidden_states, encoder_hidden_states_mask, image_rotary_emb)

    # Otherwise each job's kept keys would need a graph. The rest of the block is compiled as two graphs.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _keyed(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_mask: torch.Tensor | None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor],
    ) -> Any:
        forward = self._keeper.running
        places, places_of_text = ((table,) for table in image_rotary_emb)
        query, key, value = (_heads(layer(hidden_states), attn) for layer in (attn.to_q, attn.to_k, attn.to_v))
        query = forward.rotated(attn.norm_q(query), places, _rotate)
        key = forward.rotated(attn.norm_k(key), places, _rotate)
        layers = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
        of_text = [_heads(layer(encoder_hidden_states), attn) for layer in layers]
        attended = forward.attend(
            self._block,
            torch.cat([_rotate(attn.norm_added_q(of_text[0]), places_of_text), query], dim=1),
            torch.cat([_rotate(attn.norm_added_k(of_text[1]), places_of_text), key], dim=1),
            torch.cat([of_text[2], value], dim=1),
            text=encoder_hidden_states.shape[1],
            mask=encoder_hidden_states_mask,
        )
        text = encoder_hidden_states.shape[1]
        pictures = attn.to_out[1](attn.to_out[0](attended[:, text:].contiguous()))
        return pictures, attn.to_add_out(attended[:, :text].contiguous())


def keep_keys(transformer: Any, keeper: KeyKeeper) -> None:
    """Let the attention of every block keep and use keys as the keeper directs."""

    def shortened(_block: Any, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Shorten the index of noiseless tokens (-2511) to the computed tokens.

        None of those is noiseless.
        """
        index = inputs.get("modulate_index")
        if index is not None and keeper.forward is not None:
            inputs["modulate_index"] = index[:, : inputs["hidden_states"].shape[1]]
        return args, inputs

    for number, block in enumerate(transformer.transformer_blocks):
        block.attn.set_processor(KeepingAttention(block.attn.processor, keeper, number))
        block.register_forward_pre_hook(shortened, with_kwargs=True)


def _heads(tokens: torch.Tensor, attn: Any) -> torch.Tensor:
    return tokens.reshape(*tokens.shape[:-1], attn.heads, -1)


def _rotate(tokens: torch.Tensor, tables: Tables) -> torch.Tensor:
    rotated: torch.Tensor = apply_rotary_emb_qwen(tokens, tables[0], use_real=False)
    return rotated
