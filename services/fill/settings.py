"""Settings of the fill service, read from IMGEDIT_FILL_*."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import DiffusionSettings


class FillSettings(DiffusionSettings):
    """The service's settings; docs/reference/settings.md lists them."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="IMGEDIT_FILL_")
    service = "fill"

    port: int = Field(50053, ge=0, le=65535, description="gRPC port; 0 = any free one")
    metrics_port: int = Field(9103, ge=0, le=65535, description="port of /metrics, /livez and /readyz")
    folder: str = Field("FLUX.1-Fill-dev", description="folder of the model inside `models`, in diffusers layout")
