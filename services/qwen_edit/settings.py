"""Settings of the qwen_edit service, read from IMGEDIT_QWEN_EDIT_*."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import DiffusionSettings


class QwenEditSettings(DiffusionSettings):
    """See services/qwen_edit/README.md for the table."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="IMGEDIT_QWEN_EDIT_")
    service = "qwen_edit"

    port: int = Field(50054, ge=0, le=65535, description="gRPC port; 0 = any free one")
    metrics_port: int = Field(9104, ge=0, le=65535, description="port of /metrics, /livez and /readyz")
    folder: str = Field("Qwen-Image-Edit-2509", description="folder of the model inside `models`, in diffusers layout")
