"""Qwen2.5-VL's processor for images and text only.

transformers' own requires a video processor, and with it torchvision.
"""

from pathlib import Path
from typing import Any

from transformers import Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor
from transformers.processing_utils import ProcessorMixin

from services.diffusion.weights.checkpoint import load_part

IMAGE_TOKEN = "<|image_pad|>"  # noqa: S105
VIDEO_TOKEN = "<|video_pad|>"  # noqa: S105


class PictureProcessor(Qwen2VLProcessor):
    """Turns a text with image marks and its images into token ids and patches.

    A mark is `<|image_pad|>`.
    """

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str | None = None) -> None:
        self.image_token, self.video_token = IMAGE_TOKEN, VIDEO_TOKEN
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        self.video_token_id = tokenizer.convert_tokens_to_ids(VIDEO_TOKEN)
        setup: Any = ProcessorMixin.__init__
        setup(self, image_processor, tokenizer, chat_template=chat_template)


def load_processor(folder: Path, tokenizer: Qwen2Tokenizer) -> PictureProcessor:
    """The processor of a checkpoint's `processor` folder, with its tokenizer."""
    image_processor = load_part(Qwen2VLImageProcessorPil, folder)
    return PictureProcessor(image_processor, tokenizer, chat_template=tokenizer.chat_template)
