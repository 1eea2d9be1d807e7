"""Settings of the OpenAI API, read from IMGEDIT_OPENAI_API_*."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from imgedit.addresses import is_loopback
from imgedit.channels import TlsFiles
from imgedit.errors import SettingsError
from imgedit.local.services import OPENAI_API, ORCHESTRATOR
from services.common.settings import MIB, ServerSettings


class OpenAiApiSettings(ServerSettings):
    """Settings of the service; docs/reference/settings.md lists them."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="IMGEDIT_OPENAI_API_")
    service = "openai_api"

    port: int = Field(OPENAI_API.port, ge=0, le=65535, description="HTTP port; 0 = any free one")
    metrics_port: int = Field(
        OPENAI_API.metrics_port, ge=0, le=65535, description="port of /metrics, /livez and /readyz"
    )
    orchestrator: str = Field(f"127.0.0.1:{ORCHESTRATOR.port}", description="address of the orchestrator")
    orchestrator_tls_ca: str = Field("", description="PEM file of the orchestrator's authorities; empty = no TLS")
    tokens_in_clear: bool = Field(
        False, description="forward callers' tokens to another machine without TLS, in a private network"
    )
    edit_seconds: float = Field(300.0, gt=0, description="time for a request whose caller sends no grpc-timeout")
    receive_seconds: float = Field(60.0, gt=0, description="how long a caller may take to send a request")
    send_seconds: float = Field(
        300.0, gt=0, description="how long a caller may take to read an answer, or an event of a stream"
    )
    head_seconds: float = Field(15.0, gt=0, description="how long a caller may take to send a request's headers")
    max_request_bytes: int = Field(32 * MIB, ge=1, description="most bytes of a request's pictures and fields")
    max_parts: int = Field(64, ge=1, description="most parts of a request")
    max_field_bytes: int = Field(64 * 1024, ge=1, description="most bytes of a part that is not a file")
    max_requests: int = Field(16, ge=1, description="most concurrent requests; others are rejected")
    max_requests_per_caller: int = Field(8, ge=1, description="most of them with one credential")
    max_edits: int = Field(
        24, ge=4, description="most results in the making and not yet read at once, of which a request has `n`"
    )
    max_edits_per_caller: int = Field(16, ge=4, description="most of them with one credential")
    decode_seconds: float = Field(10.0, gt=0, description="processor time that decoding one mask may take")
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^\s?#]*[^\s?#/])?$",
        description="URL under which callers reach the edge, https://HOST; empty = response_format url is refused",
    )
    url_seconds: float = Field(600.0, gt=0, description="how long a result's URL is valid")
    max_url_bytes: int = Field(256 * MIB, ge=1, description="most bytes of results behind URLs; the oldest go first")

    @property
    def orchestrator_tls(self) -> TlsFiles | None:
        """The authorities that the orchestrator is trusted by; None = no TLS."""
        return TlsFiles(Path(self.orchestrator_tls_ca)) if self.orchestrator_tls_ca else None

    def check(self) -> None:
        """Raise `SettingsError` for an open port or a token sent unencrypted."""
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise SettingsError(f"{self.variable('tls_certificate')} and {self.variable('tls_key')}: set both")
        if self.tls_client_ca and not self.tls_certificate:
            raise SettingsError(
                f"{self.variable('tls_client_ca')} has no effect without {self.variable('tls_certificate')}"
            )
        is_open = not is_loopback(self.host) and is_loopback(self.orchestrator)
        if is_open and not (self.tls_client_ca or self.insecure):
            raise SettingsError(
                f"{self.variable('host')}={self.host} lets other machines call an orchestrator that listens on this "
                f"machine alone: set {self.variable('tls_client_ca')}, or {self.variable('insecure')}=true where "
                "something else keeps strangers away"
            )
        if not (is_loopback(self.orchestrator) or self.orchestrator_tls or self.tokens_in_clear):
            raise SettingsError(
                f"{self.variable('orchestrator')}={self.orchestrator}: callers' tokens would cross the network "
                f"unencrypted; set {self.variable('orchestrator_tls_ca')}, or {self.variable('tokens_in_clear')}=true"
            )
