"""A tiny Qwen-Image-Edit-2509.

Its real classes at toy width, in the diffusers layout.

Same as the real one: 64 packed latent channels in and out, the causal 3-D VAE with its latent mean and deviation, a
Qwen2.5-VL that sees images through windowed vision blocks, Qwen's byte-level tokenizer, the scheduler's settings. The
transformer and the VAE have seeded random weights. The Qwen2.5-VL is the demo's trained one: it answers the same on
every processor, whereas weights that are trained at build time depend on how the processor rounds.
"""

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel

from demo.tiny.folder import seeded, write_card, write_index
from demo.tiny.language import LANGUAGE_MODEL, LANGUAGE_PARTS

TEXT_WIDTH = 128
"""Hidden size of the demo's language model."""

COMPONENTS = {
    "processor": ("transformers", "Qwen2VLProcessor"),
    "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
    "text_encoder": ("transformers", "Qwen2_5_VLForConditionalGeneration"),
    "tokenizer": ("transformers", "Qwen2Tokenizer"),
    "transformer": ("diffusers", "QwenImageTransformer2DModel"),
    "vae": ("diffusers", "AutoencoderKLQwenImage"),
}


def build(folder: Path, seed: int) -> None:
    """Write the checkpoint into the existing, empty `folder`.

    The same seed gives the same weights.
    """
    with seeded(seed):
        transformer_model().save_pretrained(folder / "transformer")
        vae_model().save_pretrained(folder / "vae")
    for part in LANGUAGE_PARTS:
        shutil.copytree(LANGUAGE_MODEL / part, folder / part)
    scheduler().save_pretrained(folder / "scheduler")
    write_index(folder, "QwenImageEditPlusPipeline", COMPONENTS)
    write_card(folder, "Qwen-Image-Edit-2509", seed)


def transformer_model() -> QwenImageTransformer2DModel:
    """Two blocks of width 32."""
    return QwenImageTransformer2DModel(
        in_channels=64,
        out_channels=16,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=16,
        axes_dims_rope=(4, 6, 6),
        joint_attention_dim=TEXT_WIDTH,
    )


def vae_model() -> AutoencoderKLQwenImage:
    """Qwen-Image's VAE at 4 to 16 channels.

    Its decoder's last layer is louder, so that noise shows as colour.
    """
    vae = AutoencoderKLQwenImage(base_dim=4, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1)
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(3.0)
    return vae


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The settings of Qwen-Image-Edit-2509's scheduler."""
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000,
        shift=1.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=0.9,
        base_image_seq_len=256,
        max_image_seq_len=8192,
        shift_terminal=0.02,
        time_shift_type="exponential",
    )
