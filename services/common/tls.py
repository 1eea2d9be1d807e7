"""Server TLS from files, reloaded when they change.

Running connections stay up.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import grpc

from imgedit.channels import check_authorities, check_pair
from imgedit.errors import SettingsError
from imgedit.file_watch import Watched
from services.common import metrics
from services.common.call_context import Context
from services.common.settings import ServiceSettings


def server_credentials(settings: ServiceSettings) -> grpc.ServerCredentials | None:
    """The TLS credentials from the settings; None without a certificate.

    Raises `SettingsError` for an invalid file. With a client CA, the handshake rejects connections without a
    certificate from it.
    """
    _check_complete(settings)
    if not settings.tls_certificate:
        return None
    certificate, key = Path(settings.tls_certificate), Path(settings.tls_key)
    client_ca = Path(settings.tls_client_ca) if settings.tls_client_ca else None
    watched = Watched(
        [path for path in (certificate, key, client_ca) if path],
        lambda: _read(certificate, key, client_ca),
        on_fault=metrics.RELOAD_FAILURES.labels(settings.service, "tls").inc,
    )
    first = watched.get()
    # gRPC asks before every handshake; existing connections keep their certificate.
    return grpc.dynamic_ssl_server_credentials(
        first,
        _Renewals(watched, first),  # type: ignore[arg-type]  # the stubs leave out None
        require_client_authentication=client_ca is not None,
    )


def peer_names(context: Context) -> Sequence[str]:
    """Names in the caller's certificate, the common name first; empty without one."""
    properties = context.auth_context() or {}
    keys = ("x509_common_name", "x509_subject_alternative_name")
    return [name.decode("utf-8", "replace") for key in keys for name in properties.get(key, ())]


class _Renewals:
    """Returns a renewed certificate once, and None while nothing has changed.

    gRPC takes ownership of the object's contents, so an object must not be returned twice.
    """

    def __init__(
        self, watched: Watched[grpc.ServerCertificateConfiguration], given: grpc.ServerCertificateConfiguration
    ) -> None:
        self._watched = watched
        self._given = given
        self._lock = threading.Lock()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            latest = self._watched.get()
            if latest is self._given:
                return None
            self._given = latest
            return latest


def _check_complete(settings: ServiceSettings) -> None:
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise SettingsError(f"{settings.variable('tls_certificate')} and {settings.variable('tls_key')}: set both")
    if settings.tls_client_ca and not settings.tls_certificate:
        raise SettingsError(
            f"{settings.variable('tls_client_ca')} has no effect without {settings.variable('tls_certificate')}"
        )
    if settings.tls_client_names and not settings.tls_client_ca:
        raise SettingsError(
            f"{settings.variable('tls_client_names')} has no effect without {settings.variable('tls_client_ca')}"
        )


def _read(certificate: Path, key: Path, client_ca: Path | None) -> grpc.ServerCertificateConfiguration:
    check_pair(certificate, key)
    if client_ca:
        check_authorities(client_ca)
    return grpc.ssl_server_certificate_configuration(
        [(key.read_bytes(), certificate.read_bytes())],
        root_certificates=client_ca.read_bytes() if client_ca else None,
    )
