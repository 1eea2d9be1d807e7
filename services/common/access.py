"""Access control by bearer tokens, checked before a request's body is read.

A gate returns the caller's name or raises. The transport checks client certificates (`tls.py`).
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from imgedit import tokens
from imgedit.addresses import is_loopback
from imgedit.errors import ScopeMissing, SettingsError, Unauthenticated
from imgedit.tokens import ANONYMOUS, Credential
from services.common import credentials
from services.common.settings import ModelSettings, ServerSettings

Metadata = Sequence[tuple[str, str | bytes]]

REFLECTION = "/grpc.reflection."
SERVICE_NAME = "orchestrator"
"""The caller's name that goes with the service token."""

_BEARER = re.compile(r"bearer +([\x21-\x7e]+)", re.IGNORECASE)
_log = logging.getLogger(__name__)


class Gate(Protocol):
    """Decides on a call by its method and metadata."""

    @property
    def asks(self) -> bool:
        """Whether a credential is required."""

    def admit(self, method: str, metadata: Metadata) -> str:
        """The caller's name.

        Raises `Unauthenticated` or `ScopeMissing`.
        """


class OpenGate:
    """Admits every caller."""

    asks = False

    def admit(self, method: str, metadata: Metadata) -> str:  # noqa: ARG002  # whatever it is
        """Always "anonymous"."""
        return ANONYMOUS


class TokenGate:
    """Requires an API token whose scopes allow the RPC.

    `scopes` maps an RPC's short name to its scope. RPCs that are not listed need "admin", which allows everything, so a
    new RPC is not open by oversight. Reflection needs "list".
    """

    asks = True

    def __init__(self, credentials: Callable[[], Sequence[Credential]], scopes: Mapping[str, str]) -> None:
        self._credentials = credentials
        self._scopes = scopes

    def admit(self, method: str, metadata: Metadata) -> str:
        """The name of the token's owner."""
        credential = find_credential(self._credentials(), bearer(metadata))
        if credential is None:
            raise Unauthenticated("the API token is not known here; ask the operator for a new one")
        rpc = method.rsplit("/", 1)[-1]
        scope = "list" if method.startswith(REFLECTION) else self._scopes.get(rpc, "admin")
        if not credential.scopes & {scope, "admin"}:
            raise ScopeMissing(
                f"{rpc} needs the scope {scope!r}; the token of {credential.name!r} has "
                f"{', '.join(sorted(credential.scopes))}",
                korean=f"이 API 토큰에는 '{scope}' 권한이 없습니다.",
                metadata={"scope": scope},
            )
        return credential.name


class ServiceGate:
    """Requires one of the shared tokens, which only the orchestrator has."""

    asks = True

    def __init__(self, service_tokens: Callable[[], Sequence[str]]) -> None:
        self._tokens = service_tokens

    def admit(self, method: str, metadata: Metadata) -> str:  # noqa: ARG002  # the token allows everything
        """Always "orchestrator"."""
        known = [Credential(SERVICE_NAME, tokens.digest(token), frozenset()) for token in self._tokens()]
        if find_credential(known, bearer(metadata)) is None:
            raise Unauthenticated("this service answers the orchestrator only; the service token is not the one here")
        return SERVICE_NAME


def bearer(metadata: Metadata) -> str:
    """The token of a call.

    Raises `Unauthenticated` if there is none, or more than one.
    """
    values = [value for key, value in metadata if key == "authorization"]
    match = _BEARER.fullmatch(str(values[0])) if len(values) == 1 else None
    if match is None:
        raise Unauthenticated("no credential: send the metadata 'authorization: Bearer TOKEN'")
    return match[1]


def find_credential(credentials: Sequence[Credential], token: str) -> Credential | None:
    """The credential of a token.

    Compares with every entry, in constant time.
    """
    given = tokens.digest(token)
    found = None
    for credential in credentials:
        if hmac.compare_digest(credential.digest, given):
            found = credential
    return found


def service_gate(settings: ModelSettings) -> Gate:
    """The gate of a model service, with its shared tokens if there are any."""
    service_tokens = credentials.from_settings(settings, "service_token", credentials.read_service_tokens)
    return ServiceGate(service_tokens) if service_tokens else OpenGate()


def check_exposure(settings: ServerSettings, gate: Gate) -> None:
    """Raise `SettingsError` if other machines could call without a credential."""
    if is_loopback(settings.host):
        return
    host = settings.variable("host")
    if not (gate.asks or settings.tls_client_ca or settings.insecure):
        ways = " or ".join(settings.variable(name) for name in settings.credential_settings)
        raise SettingsError(
            f"{host}={settings.host} lets other machines call this service without a credential: set {ways}, "
            f"or {settings.variable('insecure')}=true where something else keeps strangers away"
        )
    if gate.asks and not settings.tls_certificate:
        name = settings.variable("tls_certificate")
        _log.warning("%s=%s without %s: tokens cross the network unencrypted", host, settings.host, name)
