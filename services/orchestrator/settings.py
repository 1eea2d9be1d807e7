"""Settings of the orchestrator, read from IMGEDIT_ORCHESTRATOR_*."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, create_model
from pydantic_settings import SettingsConfigDict

from imgedit.local.services import MODEL_SERVICES
from services.common.languages import SCRIPTS
from services.common.settings import MIB, ServiceSettings
from services.orchestrator.catalogue.experiments import SHIPPED
from services.orchestrator.imaging.work_area import WorkPixels
from services.orchestrator.webhooks.targets import read_allowed_hosts


def _check_languages(codes: str) -> str:
    unknown = sorted(set(codes.split(",")) - set(SCRIPTS))
    if unknown:
        raise ValueError(f"must be of {', '.join(SCRIPTS)}, separated by commas; {unknown[0]!r} is not")
    return codes


Languages = Annotated[str, AfterValidator(_check_languages)]
"""ISO 639-1 codes, separated by commas."""


def _check_hosts(listed: str) -> str:
    read_allowed_hosts(listed)
    return listed


Hosts = Annotated[str, AfterValidator(_check_hosts)]
"""Names of hosts, separated by commas."""


_ADDRESSES: dict[str, Any] = {
    row.name: (str, Field(f"127.0.0.1:{row.port}", description=f"address of the {row.name} service"))
    for row in MODEL_SERVICES
}
ModelAddresses = create_model("ModelAddresses", __base__=ServiceSettings, **_ADDRESSES)
"""A setting for each model service of the table."""


class OrchestratorSettings(ModelAddresses):
    """The service's settings; docs/reference/settings.md lists them."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="IMGEDIT_ORCHESTRATOR_")
    service = "orchestrator"
    credential_settings = ("tokens_file", "tls_client_ca")

    port: int = Field(50051, ge=0, le=65535, description="gRPC port; 0 = any free one")
    metrics_port: int = Field(9101, ge=0, le=65535, description="port of /metrics, /livez and /readyz")
    experiments: Path = Field(SHIPPED, description="the experiment catalogue")
    prompt: str = Field(
        "qwen_edit",
        description="address of the PromptService; qwen_edit = that service; empty = no prompt rewriting",
    )
    fill_languages: Languages = Field("en", description="languages that FLUX.1-Fill reads")
    qwen_edit_languages: Languages = Field("ko,en,zh", description="languages that Qwen-Image-Edit reads")
    rewritten_languages: Languages = Field(
        "ko,ja,zh,ru,ar,th", description="languages that the PromptService translates if the model does not read them"
    )
    max_work_pixels: int = Field(
        1_048_576, ge=4096, description="most pixels of a model's input; the result keeps the input's size"
    )
    fill_min_work_pixels: int = Field(
        524_288, ge=1, description="smaller images and regions are enlarged to this for FLUX.1-Fill, and scaled back"
    )
    qwen_edit_min_work_pixels: int = Field(
        1_048_576,
        ge=1,
        description="the same for Qwen-Image-Edit; both are capped at `max_work_pixels`",
    )
    decode_processes: int = Field(
        2, ge=1, le=64, description="processes that decode images; one caller uses at most all but one"
    )
    decode_seconds: float = Field(
        10.0, gt=0, description="CPU time to decode one image; beyond it the image is rejected"
    )
    metadata_prompt: bool = Field(True, description="write the prompts into the metadata of results")
    tokens_file: str = Field("", description="file of API tokens, hashed; empty = callers need none")
    tokens: str = Field("", repr=False, description="the lines themselves, separated by ;")
    service_token_file: str = Field("", description="file whose first line is the token for the model services")
    service_token: str = Field("", repr=False, description="the token itself")
    services_tls_ca: str = Field("", description="PEM file of the authorities of the model services; empty = no TLS")
    services_tls_certificate: str = Field("", description="PEM file of the client certificate for the model services")
    services_tls_key: str = Field("", description="PEM file of that certificate's key, without a password")
    services_insecure: bool = Field(False, description="allow sending the service token to other machines without TLS")
    max_in_batch: int = Field(
        4, ge=1, description="concurrent edits of one EditBatch call; no further requests are read"
    )
    kept_answer_seconds: float = Field(
        300.0, ge=0, description="how long the response of an ended edit is cached for its request id"
    )
    max_kept_answers: int = Field(4096, ge=1, description="most cached edits; the oldest are evicted first")
    max_kept_bytes: int = Field(
        256 * MIB, ge=0, description="most bytes of cached responses; the oldest are evicted first; 0 = no cache"
    )
    store_url: str = Field(
        "",
        repr=False,
        description="Valkey or Redis in which several orchestrators share kept answers: redis://HOST:PORT/DB, "
        "rediss://HOST:PORT/DB (TLS) or unix:///PATH; empty = each keeps its own",
    )
    store_password_file: str = Field("", description="file whose first line is the store's password; empty = none")
    store_password: str = Field("", repr=False, description="the password itself")
    store_tls_ca: str = Field("", description="PEM file of the store's authorities; empty = the system's")
    store_insecure: bool = Field(False, description="allow a store on another machine without TLS")
    store_max_bytes: int = Field(
        1024 * MIB,
        ge=MIB,
        description="most bytes of all edits in the store, whose memory is up to a third more; the oldest are evicted",
    )
    store_seconds: float = Field(
        1.0, gt=0, le=60, description="longest wait for the store; an answer gets a second more per 10 MiB"
    )
    store_lease_seconds: float = Field(
        15.0, ge=0.5, le=3600, description="silence after which an orchestrator's running edits count as lost"
    )
    content_policy: str = Field(
        "", description="content policy as package.module:function; empty = none (docs/security.md)"
    )
    rerun_wait_seconds: float = Field(
        5.0, ge=0, description="how long a model service lost during a stage may take to come back"
    )
    max_edits: int = Field(32, ge=1, description="most concurrent edits; more fail with TOO_MANY_EDITS")
    max_edits_per_caller: int = Field(
        16, ge=1, description="per-caller limit on concurrent edits; callers without a token count as one"
    )
    max_edit_bytes: int = Field(
        4096 * MIB, ge=1, description="most bytes of concurrent requests and edits, by the size of their images"
    )
    max_edit_bytes_per_caller: int = Field(2048 * MIB, ge=1, description="per-caller limit on these bytes")
    webhook_hosts: Hosts = Field(
        "", description="hosts that webhook URLs may name: NAME, NAME:PORT or *.NAME, comma-separated; empty = none"
    )
    webhook_secret_file: str = Field(
        "", description="file of the secrets that sign webhooks, whsec_BASE64, one per line; all of them sign"
    )
    webhook_secret: str = Field("", repr=False, description="the secrets themselves, separated by ;")
    webhook_tls_ca: str = Field(
        "", description="PEM file of the authorities of webhook receivers; empty = the system's"
    )
    webhook_tries: int = Field(6, ge=1, le=20, description="most tries of one webhook")
    webhook_try_seconds: float = Field(10.0, gt=0, le=60, description="how long a receiver may take to answer a try")
    webhook_seconds: float = Field(300.0, gt=0, le=86400, description="how long one webhook is tried in all")
    max_webhooks: int = Field(1000, ge=1, description="most webhooks on their way; further ones are dropped")
    webhooks_at_once: int = Field(16, ge=1, le=256, description="most concurrent tries")
    webhook_drain_seconds: float = Field(10.0, ge=0, description="wait for webhooks on their way, on SIGTERM")

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses of the model services, and of the PromptService as "prompt"."""
        models = {row.name: str(getattr(self, row.name)) for row in MODEL_SERVICES}
        if not self.prompt:
            return models
        return {**models, "prompt": models.get(self.prompt, self.prompt)}

    @property
    def work_pixels(self) -> WorkPixels:
        """The pixel limits for the models' inputs."""
        return WorkPixels(self.max_work_pixels, self.fill_min_work_pixels, self.qwen_edit_min_work_pixels)
