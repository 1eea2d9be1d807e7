"""The connection to the answer store, from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, InvalidResponse, RedisError, ResponseError

from imgedit.addresses import is_loopback
from imgedit.errors import SettingsError
from services.common import credentials
from services.orchestrator.edits.admission import Admission
from services.orchestrator.edits.answer_store import AnswerStore, Bounds
from services.orchestrator.settings import OrchestratorSettings

_FORMS = "must be redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH"
_DEFAULT_PORT = 6379
_MAX_CONNECTIONS = 64


class _Password(CredentialProvider):
    """The current password, read for each new connection."""

    def __init__(self, user: str, password: Callable[[], str]) -> None:
        self._user = user
        self._password = password

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """User, if the URL names one, and password."""
        return (self._user, self._password()) if self._user else (self._password(),)


def open_store(settings: OrchestratorSettings, admission: Admission) -> AnswerStore:
    """The store, not connected yet.

    Raises `SettingsError` that names the invalid setting.
    """
    client = _open_client(settings)
    bounds = Bounds(
        nbytes=settings.store_max_bytes,
        kept_seconds=settings.kept_answer_seconds,
        lease_seconds=settings.store_lease_seconds,
        call_seconds=settings.store_seconds,
    )
    return AnswerStore(client, bounds, admission, check=partial(_check, client, settings))


async def _check(client: Redis, settings: OrchestratorSettings) -> None:
    """Raise `SettingsError` if the store refuses this client.

    A store that does not answer may come back, so it does not stop the start.
    """
    try:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(settings.store_seconds):
                await client.ping()
    except RedisError as error:
        refusal = error.__cause__ or error  # redis-py wraps what it meets while it connects
        name = "store_password_file" if isinstance(refusal, AuthenticationError) else "store_url"
        if isinstance(refusal, AuthenticationError | ResponseError | InvalidResponse):
            raise SettingsError(f"{settings.variable(name)}: the store refuses it: {refusal}") from None


def _open_client(settings: OrchestratorSettings) -> Redis:
    variable = settings.variable("store_url")
    place, user = _place(settings.store_url, variable)
    password = credentials.from_settings(settings, "store_password", _read_password)
    if user and password is None:
        raise SettingsError(f"{variable} names a user: set {settings.variable('store_password_file')} as well")
    if settings.store_tls_ca and not place.get("ssl_check_hostname"):
        raise SettingsError(
            f"{settings.variable('store_tls_ca')} has no effect unless {variable} is a rediss:// address"
        )
    if settings.store_tls_ca:
        if not Path(settings.store_tls_ca).is_file():
            raise SettingsError(f"{settings.variable('store_tls_ca')}: there is no file {settings.store_tls_ca}")
        place["ssl_ca_certs"] = settings.store_tls_ca
    if place["connection_class"] is Connection and not is_loopback(place["host"]) and not settings.store_insecure:
        raise SettingsError(
            f"{variable}: callers' images would cross the network unencrypted; use rediss://, or set "
            f"{settings.variable('store_insecure')}=true"
        )
    pool = BlockingConnectionPool(
        max_connections=_MAX_CONNECTIONS,
        timeout=None,  # every call has its own limit
        retry=Retry(NoBackoff(), 0),
        credential_provider=_Password(user, password) if password else None,
        protocol=2,
        **place,
    )
    return Redis.from_pool(pool)


def _place(url: str, variable: str) -> tuple[dict[str, Any], str]:
    """The options of a connection to this URL, and the user that it names."""
    try:
        parts = urlsplit(url)
        host, port, password = parts.hostname, parts.port, parts.password
    except ValueError:
        raise SettingsError(f"{variable}: {_FORMS}, the port 1 to 65535") from None
    if password is not None:
        name = variable.replace("_URL", "_PASSWORD")
        raise SettingsError(f"{variable}: must hold no password; set {name}_FILE or {name}")
    if parts.query or parts.fragment:
        raise SettingsError(f"{variable}: {_FORMS}, without '?' and '#'")
    user = unquote(parts.username or "")
    if parts.scheme == "unix" and parts.path.strip("/") and not host:
        return {"connection_class": UnixDomainSocketConnection, "path": unquote(parts.path)}, user
    database = parts.path.removeprefix("/") or "0"
    if parts.scheme not in ("redis", "rediss") or not host or not (database.isascii() and database.isdecimal()):
        raise SettingsError(f"{variable}: {_FORMS}")
    place: dict[str, Any] = {"host": host, "port": port or _DEFAULT_PORT, "db": int(database)}
    if parts.scheme == "rediss":
        return {"connection_class": SSLConnection, "ssl_check_hostname": True, **place}, user
    return {"connection_class": Connection, **place}, user


def _read_password(lines: Sequence[str], source: str) -> str:
    """The first line that is not empty."""
    for line in lines:
        if line.strip():
            return line.strip()
    raise SettingsError(f"{source}: holds no password")
