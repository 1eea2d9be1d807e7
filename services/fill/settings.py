"""Settings of the fill service, read from IMGEDIT_FILL_*."""

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import DiffusionSettings


class FillSettings(DiffusionSettings):
    """See services/fill/README.md for the table."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="IMGEDIT_FILL_")
    service = "fill"

    port: int = Field(50053, ge=0, le=65535, description="gRPC port; 0 = any free one")
    metrics_port: int = Field(9103, ge=0, le=65535, description="port of /metrics, /livez and /readyz")
    folder: str = Field("FLUX.1-Fill-dev", description="folder of the model inside `models`, in diffusers layout")
    weights: Literal["auto", "dense", "gguf"] = Field(
        "auto", description="how a GGUF file is held: dense = dequantised once; gguf = as stored; auto = by free memory"
    )
    gguf_sha256: str = Field("", pattern="^([0-9a-fA-F]{64})?$", description="digest that the GGUF file must have")
    gguf: str = Field("", description="GGUF file of the transformer inside `models`; empty = the folder's own")
