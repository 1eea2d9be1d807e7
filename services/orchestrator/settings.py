"""Settings of the orchestrator, read from IMGEDIT_ORCHESTRATOR_*."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServiceSettings
from services.orchestrator.catalogue import SHIPPED


class OrchestratorSettings(ServiceSettings):
    """See services/orchestrator/README.md for the table."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="IMGEDIT_ORCHESTRATOR_")
    service = "orchestrator"

    port: int = Field(50051, ge=0, le=65535, description="gRPC port; 0 = any free one")
    metrics_port: int = Field(9101, ge=0, le=65535, description="port of /metrics, /livez and /readyz")
    experiments: Path = Field(SHIPPED, description="the experiment catalogue")
    segmentation: str = Field("127.0.0.1:50052", description="address of the segmentation service")
    fill: str = Field("127.0.0.1:50053", description="address of the fill service")
    qwen_edit: str = Field("127.0.0.1:50054", description="address of the qwen_edit service")
    max_work_pixels: int = Field(
        1_048_576, ge=4096, description="most pixels that a model is sent; the answer keeps the input's size"
    )
