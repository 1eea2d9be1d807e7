"""The webhooks that the settings allow."""

from __future__ import annotations

import ssl

from imgedit.errors import SettingsError
from services.common import credentials
from services.orchestrator.settings import OrchestratorSettings
from services.orchestrator.webhooks.edit_webhooks import Webhooks
from services.orchestrator.webhooks.network import PublicNetwork, SystemResolver
from services.orchestrator.webhooks.sender import Limits, Sender
from services.orchestrator.webhooks.signature import read_secrets
from services.orchestrator.webhooks.targets import read_allowed_hosts


def configured_webhooks(settings: OrchestratorSettings, network: PublicNetwork | None = None) -> Webhooks:
    """The webhooks by the settings; without hosts and a secret every URL is refused.

    network: opens the connections; None = to public addresses. Raises `SettingsError` for hosts without a secret, a
    secret without hosts, and unreadable files.
    """
    hosts = read_allowed_hosts(settings.webhook_hosts)
    secrets = credentials.from_settings(settings, "webhook_secret", read_secrets)
    hosts_name, secret_name = settings.variable("webhook_hosts"), settings.variable("webhook_secret_file")
    if bool(hosts) != bool(secrets):
        present, missing = (hosts_name, secret_name) if hosts else (secret_name, hosts_name)
        raise SettingsError(f"{present} has no effect without {missing}; set both")
    if not secrets:
        return Webhooks(None, needed=f"{hosts_name} and {secret_name}")
    limits = Limits(
        waiting=settings.max_webhooks,
        at_once=settings.webhooks_at_once,
        tries=settings.webhook_tries,
        try_seconds=settings.webhook_try_seconds,
        total_seconds=settings.webhook_seconds,
    )
    sender = Sender(network or PublicNetwork(SystemResolver(limits.at_once)), _authorities(settings), secrets, limits)
    return Webhooks(sender, hosts, needed="", drain_seconds=settings.webhook_drain_seconds)


def _authorities(settings: OrchestratorSettings) -> ssl.SSLContext:
    """The authorities that receivers' certificates must be of."""
    try:
        return ssl.create_default_context(cafile=settings.webhook_tls_ca or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"{settings.variable('webhook_tls_ca')}={settings.webhook_tls_ca}: no PEM file of authorities: {error}"
        ) from None
