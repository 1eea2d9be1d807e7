"""Access to the public API, and credentials for the model services."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc

from imgedit.addresses import is_loopback
from imgedit.channels import TlsFiles, open_channel
from imgedit.errors import SettingsError
from imgedit.local.services import MODEL_SERVICES
from services.common import credentials
from services.common.access import Gate, OpenGate, TokenGate
from services.orchestrator.settings import OrchestratorSettings

SCOPES = {
    "Edit": "edit",
    "EditStream": "edit",
    "EditBatch": "edit",
    "GetEdit": "edit",
    "CancelEdit": "edit",
    "EstimateEdit": "edit",
    "ListExperiments": "list",
}
"""The scope that each RPC needs."""


def public_gate(settings: OrchestratorSettings) -> Gate:
    """The authenticator of the public API, with its tokens if there are any."""
    known = credentials.from_settings(settings, "tokens", credentials.read_credentials)
    return TokenGate(known, SCOPES) if known else OpenGate()


def service_channels(settings: OrchestratorSettings) -> Callable[[str], grpc.aio.Channel]:
    """Open a channel to a model service with the configured credentials.

    Raises `SettingsError` for invalid credentials, or if the token would cross the network without TLS.
    """
    tokens = credentials.from_settings(settings, "service_token", credentials.read_service_tokens)
    tls = _tls(settings)
    _check_token_stays_private(settings, has_token=tokens is not None, has_tls=tls is not None)
    return partial(
        open_channel,
        tls=tls,
        token=(lambda: tokens()[0]) if tokens else None,
        may_send_token_in_clear=settings.services_insecure,
    )


def _tls(settings: OrchestratorSettings) -> TlsFiles | None:
    ca, certificate, key = (
        Path(file) if file else None
        for file in (settings.services_tls_ca, settings.services_tls_certificate, settings.services_tls_key)
    )
    if ca is None and (certificate or key):
        raise SettingsError(
            f"{settings.variable('services_tls_certificate')} has no effect without "
            f"{settings.variable('services_tls_ca')}"
        )
    return TlsFiles(ca, certificate, key) if ca else None


def _check_token_stays_private(settings: OrchestratorSettings, *, has_token: bool, has_tls: bool) -> None:
    if not has_token or has_tls or settings.services_insecure:
        return
    for name in (row.name for row in MODEL_SERVICES):
        if not is_loopback(address := getattr(settings, name)):
            raise SettingsError(
                f"{settings.variable(name)}={address}: the service token would cross the network unencrypted; set "
                f"{settings.variable('services_tls_ca')}, or {settings.variable('services_insecure')}=true"
            )
