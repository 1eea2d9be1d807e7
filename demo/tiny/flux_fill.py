"""A tiny FLUX.1-Fill: its real classes at toy width with seeded random weights.

Like the real one: 384 input channels (64 latent + 64 masked-image latent + 256 mask), 64 out, guidance embedding, 16
latent channels at one eighth of the size, CLIP and T5 with 512 text positions, the scheduler's settings.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from demo.tiny import tokenizers
from demo.tiny.folder import seeded, write_card, write_index

CLIP_WIDTH = 32
T5_WIDTH = 32

COMPONENTS = {
    "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "text_encoder_2": ("transformers", "T5EncoderModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "tokenizer_2": ("transformers", "T5TokenizerFast"),
    "transformer": ("diffusers", "FluxTransformer2DModel"),
    "vae": ("diffusers", "AutoencoderKL"),
}


def build(folder: Path, seed: int) -> None:
    """Write the checkpoint into the existing, empty `folder`.

    The same seed gives the same weights.
    """
    clip_tokenizer, t5_tokenizer = tokenizers.clip(), tokenizers.t5()
    with seeded(seed):
        transformer_model().save_pretrained(folder / "transformer")
        vae_model().save_pretrained(folder / "vae")
        clip_model(len(clip_tokenizer)).save_pretrained(folder / "text_encoder")
        t5_model(len(t5_tokenizer)).save_pretrained(folder / "text_encoder_2")
    clip_tokenizer.save_pretrained(folder / "tokenizer")
    t5_tokenizer.save_pretrained(folder / "tokenizer_2")
    scheduler().save_pretrained(folder / "scheduler")
    write_index(folder, "FluxFillPipeline", COMPONENTS)
    write_card(folder, "FLUX.1-Fill-dev", seed)


def transformer_model() -> FluxTransformer2DModel:
    """One double and one single block of width 32."""
    return FluxTransformer2DModel(
        in_channels=384,
        out_channels=64,
        num_layers=1,
        num_single_layers=1,
        num_attention_heads=2,
        attention_head_dim=16,
        axes_dims_rope=(4, 6, 6),
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=True,
    )


def vae_model() -> AutoencoderKL:
    """FLUX's VAE layout at 8 to 16 channels.

    Its decoder's last layer is louder, so that noise shows as colour.
    """
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=16,
        sample_size=1024,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(3.0)
    return vae


def clip_model(vocabulary: int) -> CLIPTextModel:
    """CLIP's text tower, two layers, 77 positions.

    The end marker is the vocabulary's last piece, as in CLIP-L.
    """
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=CLIP_WIDTH,
        intermediate_size=2 * CLIP_WIDTH,
        projection_dim=CLIP_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    return CLIPTextModel(config)


def t5_model(vocabulary: int) -> T5EncoderModel:
    """T5 v1.1's encoder (gated GELU), two layers."""
    config = T5Config(
        vocab_size=vocabulary,
        d_model=T5_WIDTH,
        d_kv=16,
        d_ff=2 * T5_WIDTH,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config)


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The settings of FLUX.1-Fill-dev's scheduler."""
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000,
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )
