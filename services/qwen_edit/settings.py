"""Settings of the qwen_edit service, read from IMGEDIT_QWEN_EDIT_*."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import DiffusionSettings


class QwenEditSettings(DiffusionSettings):
    """The service's settings; docs/reference/settings.md lists them."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="IMGEDIT_QWEN_EDIT_")
    service = "qwen_edit"

    port: int = Field(50054, ge=0, le=65535, description="gRPC port; 0 = any free one")
    metrics_port: int = Field(9104, ge=0, le=65535, description="port of /metrics, /livez and /readyz")
    folder: str = Field("Qwen-Image-Edit-2509", description="folder of the model inside `models`, in diffusers layout")
    reference_pixels: int = Field(
        1_048_576, ge=1024, description="area at which reference pictures are encoded, whatever their own size"
    )
    text_encoder_attention: str = Field(
        "", description="a transformers attention (sdpa, eager, flash_attention_2 ...); empty = its default"
    )
    rewrite_tokens: int = Field(512, ge=16, le=2048, description="most tokens of a rewritten prompt")
    rewrite_seconds: float = Field(30.0, gt=0, description="time limit for rewriting one prompt, waiting included")
