"""FLUX's attention with kept keys and values, for region steps.

See `services.diffusion.networks.kept_keys`.
"""

from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb

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
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> Any:
        """Attention of text and picture.

        A single block has both in `hidden_states`, the text first.
        """
        if self._keeper.forward is None or image_rotary_emb is None:
            return self._usual(attn, hidden_states, encoder_hidden_states, attention_mask, image_rotary_emb)
        return self._keyed(attn, hidden_states, encoder_hidden_states, image_rotary_emb)

    # Otherwise each job's kept keys would need a graph. The rest of the block is compiled as two graphs.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _keyed(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor],
    ) -> Any:
        forward = self._keeper.running
        query, key, value = (_heads(layer(hidden_states), attn) for layer in (attn.to_q, attn.to_k, attn.to_v))
        query, key = attn.norm_q(query), attn.norm_k(key)
        if encoder_hidden_states is not None:
            layers = (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
            of_text = [_heads(layer(encoder_hidden_states), attn) for layer in layers]
            query = torch.cat([attn.norm_added_q(of_text[0]), query], dim=1)
            key = torch.cat([attn.norm_added_k(of_text[1]), key], dim=1)
            value = torch.cat([of_text[2], value], dim=1)
        text = forward.text_of(key.shape[1])
        query = forward.rotated(query, image_rotary_emb, _rotate, text)
        key = forward.rotated(key, image_rotary_emb, _rotate, text)
        attended = forward.attend(self._block, query, key, value, text=text)
        if encoder_hidden_states is None:
            return attended
        picture = attn.to_out[1](attn.to_out[0](attended[:, text:].contiguous()))
        return picture, attn.to_add_out(attended[:, :text].contiguous())


def keep_keys(transformer: Any, keeper: KeyKeeper) -> None:
    """Let the attention of every block keep and use keys as the keeper directs."""
    for number, block in enumerate([*transformer.transformer_blocks, *transformer.single_transformer_blocks]):
        block.attn.set_processor(KeepingAttention(block.attn.processor, keeper, number))


def _heads(tokens: torch.Tensor, attn: Any) -> torch.Tensor:
    return tokens.reshape(*tokens.shape[:-1], -1, attn.head_dim)


def _rotate(tokens: torch.Tensor, tables: Tables) -> torch.Tensor:
    rotated: torch.Tensor = apply_rotary_emb(tokens, tables, sequence_dim=1)
    return rotated
