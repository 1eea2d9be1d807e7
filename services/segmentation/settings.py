"""Settings of the segmentation service, read from IMGEDIT_SEGMENTATION_*."""

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import MIB, ModelSettings


class SegmentationSettings(ModelSettings):
    """The service's settings; docs/reference/settings.md lists them."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="IMGEDIT_SEGMENTATION_")
    service = "segmentation"

    port: int = Field(50052, ge=0, le=65535, description="gRPC port; 0 = any free one")
    metrics_port: int = Field(9102, ge=0, le=65535, description="port of /metrics, /livez and /readyz")
    folder: str = Field("BEN2", description="folder of the model inside `models`")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="number format; auto = bf16 with hardware support; fp16 only on cuda"
    )
    cache_bytes: int = Field(256 * MIB, ge=0, description="memory for cached masks, one byte per pixel; 0 = no cache")
