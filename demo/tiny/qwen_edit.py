"""A tiny Qwen-Image-Edit-2509: its real classes at toy width, in the diffusers layout.

Same as the real one: 64 packed latent channels in and out, the causal 3-D VAE with its latent mean and deviation, a
Qwen2.5-VL that sees images through windowed vision blocks, Qwen's byte-level tokenizer, the scheduler's settings.
The weights are seeded noise, but for the language model's: it is taught a few prompts by heart (`recitation.py`).
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from demo.tiny import recitation, tokenizers
from demo.tiny.folder import seeded, write_card, write_index
from services.qwen_edit.processor import PictureProcessor

TEXT_WIDTH = 64

COMPONENTS = {
    "processor": ("transformers", "Qwen2VLProcessor"),
    "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler"),
    "text_encoder": ("transformers", "Qwen2_5_VLForConditionalGeneration"),
    "tokenizer": ("transformers", "Qwen2Tokenizer"),
    "transformer": ("diffusers", "QwenImageTransformer2DModel"),
    "vae": ("diffusers", "AutoencoderKLQwenImage"),
}


def build(folder: Path, seed: int) -> None:
    """Write the checkpoint into the existing, empty `folder`; the same seed gives the same weights."""
    tokenizer, image_processor = tokenizers.qwen2(), Qwen2VLImageProcessorPil()
    with seeded(seed):
        transformer_model().save_pretrained(folder / "transformer")
        vae_model().save_pretrained(folder / "vae")
        model = language_model(tokenizer)
        recitation.train(model, PictureProcessor(image_processor, tokenizer), seed)
        model.save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    tokenizer.save_pretrained(folder / "processor")
    image_processor.save_pretrained(folder / "processor")
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
    """Qwen-Image's VAE at 4 to 16 channels; its decoder's last layer is louder, so that noise shows as colour."""
    vae = AutoencoderKLQwenImage(base_dim=4, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1)
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(3.0)
    return vae


def language_model(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """Qwen2.5-VL with two text and two vision layers; the second vision layer attends to the whole image."""
    token = tokenizer.get_vocab()
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": TEXT_WIDTH,
            "intermediate_size": 2 * TEXT_WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 32_768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
            "bos_token_id": token["<|endoftext|>"],
            "eos_token_id": token["<|im_end|>"],
            "pad_token_id": token["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": TEXT_WIDTH,
            "fullatt_block_indexes": [1],
        },
        image_token_id=token["<|image_pad|>"],
        video_token_id=token["<|video_pad|>"],
        vision_start_token_id=token["<|vision_start|>"],
        vision_end_token_id=token["<|vision_end|>"],
    )
    return Qwen2_5_VLForConditionalGeneration(config)


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
