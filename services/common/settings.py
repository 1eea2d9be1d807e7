"""Settings of a service: one frozen object, read once in `__main__`.

Each service adds its own fields. An invalid value stops the start and names the variable.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from imgedit.errors import SettingsError

MIB = 1024 * 1024


class ServerSettings(BaseSettings):
    """Settings of every server, whatever its protocol.

    A subclass sets `env_prefix`, for instance IMGEDIT_FILL_.
    """

    model_config = SettingsConfigDict(frozen=True)

    service: ClassVar[str]
    """The service's name, which labels its logs and metrics."""

    credential_settings: ClassVar[tuple[str, ...]] = ("tls_client_ca",)
    """The settings that require a credential from callers."""

    host: str = Field("127.0.0.1", description="address to listen on, for callers and metrics")
    port: int = Field(ge=0, le=65535, description="port for callers; 0 = any free one")
    metrics_port: int = Field(ge=0, le=65535, description="port of /metrics, /livez and /readyz; 0 = any free one")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    max_pixels: int = Field(25_000_000, ge=256, description="most pixels of a picture, checked before it is decoded")
    drain_seconds: float = Field(3.0, ge=0, description="wait between NOT_SERVING and refusing new calls, on SIGTERM")
    grace_seconds: float = Field(150.0, ge=0, description="longest wait for running calls, on SIGTERM")
    exit_with_parent: bool = Field(False, description="drain and exit when the parent process ends")
    tls_certificate: str = Field("", description="PEM file of the server's certificate chain; empty = no TLS")
    tls_key: str = Field("", description="PEM file of the certificate's key, without a password")
    tls_client_ca: str = Field(
        "", description="PEM file of the authorities whose certificates callers must show; empty = none required"
    )
    tracing: str = Field(
        "",
        pattern=r"^(https?://[^/\s]+)?$",
        description="OTLP collector for spans, http://HOST:4317 or https://…; empty = tracing is off",
    )
    tracing_ratio: float = Field(
        1.0, ge=0, le=1, description="fraction of traces to keep without a decision of the caller, 0 to 1"
    )
    insecure: bool = Field(False, description="allow listening beyond this machine without credentials")

    @classmethod
    def variable(cls, name: str) -> str:
        """The environment variable of a setting."""
        return f"{cls.model_config.get('env_prefix', '')}{name}".upper()


class ServiceSettings(ServerSettings):
    """Further settings of every gRPC server."""

    max_request_bytes: int = Field(32 * MIB, ge=1, description="largest message that the handler accepts")
    max_receive_bytes: int = Field(48 * MIB, ge=1, description="largest message that the transport accepts")
    receive_seconds: float = Field(60.0, gt=0, description="how long a caller may take to send a message")
    max_receiving: int = Field(32, ge=1, description="most messages that are received at once; others wait")
    max_receiving_per_caller: int = Field(
        8, ge=1, description="per-caller limit on these messages, and on open request streams"
    )
    send_seconds: float = Field(
        300.0, gt=0, description="how long a caller may take to read a message; then its connection is closed"
    )
    max_send_bytes: int = Field(128 * MIB, ge=1, description="largest answer")
    tls_client_names: str = Field(
        "", description="names, comma-separated, of which a caller's certificate must have one; empty = any name"
    )


class ModelSettings(ServiceSettings):
    """The additional settings of every model service."""

    credential_settings = ("service_token_file", "tls_client_ca")

    service_token_file: str = Field(
        "", description="file of the accepted orchestrator tokens, one per line; empty = none required"
    )
    service_token: str = Field("", repr=False, description="the tokens themselves, separated by ;")
    models: Path = Field(Path("/models"), description="folder that holds the model folders")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        description="where the model runs: auto (cuda where it is), cpu, cuda, or cuda:N, the N-th GPU from 0",
    )
    max_waiting: int = Field(16, ge=1, description="jobs that may wait for the device before QUEUE_FULL")


class DiffusionSettings(ModelSettings):
    """The additional settings of the two diffusion services."""

    folder: str = Field(description="folder of the model inside `models`, in diffusers layout")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto",
        description="number format of the model; auto = bfloat16 on cuda, float32 on cpu; the VAE never uses float16",
    )
    max_pixels: int = Field(2_097_152, ge=256, description="largest work area in pixels; the orchestrator sends less")
    max_batch: int = Field(
        4, ge=1, le=16, description="most jobs in one forward, if the cost model predicts a gain; 1 = no batching"
    )
    max_waiting_bytes: int = Field(
        256 * MIB, ge=1, description="image bytes of all jobs; more fail with QUEUE_FULL, but a single job never does"
    )
    cache_bytes: int = Field(256 * MIB, ge=0, description="memory for cached prompts and images; 0 = no cache")
    gguf: str = Field("", description="GGUF file of the transformer inside `models`; empty = the folder's own")
    gguf_sha256: str = Field("", pattern="^([0-9a-fA-F]{64})?$", description="digest that the GGUF file must have")
    weights: Literal["auto", "dense", "stored", "gguf"] = Field(
        "auto",
        description="how a transformer of a GGUF file or of 8-bit floats is held: dense = dequantised once; stored = "
        "as it is, dequantised by each layer (gguf is its old name); auto = by free memory",
    )
    text_encoder_weights: Literal["dense", "stored", "int8"] = Field(
        "dense",
        description="how the text encoder (T5, Qwen2.5-VL) is held: dense = in `dtype`; stored = 8-bit floats as they "
        "are; int8 = 8-bit weights, half the memory",
    )
    text_encoder_offload: Literal["same", "none", "model", "sequential"] = Field(
        "same", description="where the text encoders' weights rest, if not as `offload` says"
    )
    offload: Literal["none", "model", "group", "sequential"] = Field(
        "none",
        description="placement of idle weights: none = on the device; model = one network at a time on the device; "
        "group = the transformer block by block; sequential = layer by layer",
    )
    vae_tiling: bool = Field(False, description="encode and decode in overlapping tiles, for less memory")
    vae_slicing: bool = Field(False, description="encode and decode one image of a batch at a time")
    attention: str = Field(
        "", description="a diffusers attention backend (native, flash, sage ...); empty = torch's own"
    )
    step_cache_threshold: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="First Block Cache of profile balanced: relative change below which a step is "
        "skipped (0.08 is usual); 0 = off",
    )
    cfg_batch: Literal["auto", "on", "off"] = Field(
        "auto",
        description="run both passes of a negative prompt as one forward; auto = below 2,048 tokens",
    )
    lora_fast: str = Field("", description="LoRA file of profile fast inside `models`; empty = the profile is rejected")
    loras: str = Field(
        "", description="folder of LoRA files inside `models` that requests may name; empty = none; read while serving"
    )
    lora_bytes: int = Field(
        2048 * MIB, ge=1, description="memory for the LoRAs that requests name; the least recently used are unloaded"
    )
    compile: Literal["off", "regional"] = Field("off", description="compile the transformer's repeated block")
    compile_cache: str = Field(
        "", description="folder of compiled blocks that a restart loads; may be a volume; empty = torch's own in /tmp"
    )
    warm_sizes: str = Field(
        "",
        description="work areas to run at the start, WIDTHxHEIGHT in pixels, separated by commas; with `compile` no "
        "edit of these sizes waits for a compilation",
    )
    region_steps: bool = Field(
        False,
        description="in most steps, profiles fast and balanced compute only the mask's tokens",
    )
    region_bytes: int = Field(
        12288 * MIB,
        ge=1,
        description="device memory for the keys and values of other tokens, which running jobs keep between steps; "
        "a job that alone needs more computes every token in every step",
    )


S = TypeVar("S", bound=ServiceSettings)
P = TypeVar("P", bound=ServerSettings)


def load_settings(settings_class: type[P]) -> P:
    """Read the settings of a service from the environment.

    Raises `SettingsError` that names the variable, for an invalid value or an unknown variable.
    """
    prefix = str(settings_class.model_config.get("env_prefix", ""))
    known = {settings_class.variable(name) for name in settings_class.model_fields}
    unknown = sorted(name for name in os.environ if name.upper().startswith(prefix) and name.upper() not in known)
    if unknown:
        raise SettingsError(f"{', '.join(unknown)}: no such setting; known are {', '.join(sorted(known))}")
    try:
        return settings_class()
    except ValidationError as error:
        faults = [
            f"{settings_class.variable(str(fault['loc'][0]))}: {fault['msg']}, is {fault['input']!r}"
            for fault in error.errors()
        ]
        raise SettingsError("; ".join(faults)) from None
