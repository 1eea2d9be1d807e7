"""Channels to a server: TLS, client certificates and the bearer token.

When certificate files change, new calls use a new connection and running ones finish on the old one.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from imgedit.addresses import is_loopback, is_near
from imgedit.errors import ForkError, SettingsError
from imgedit.file_watch import Watched

CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", 48 * 1024 * 1024),
    ("grpc.max_receive_message_length", 128 * 1024 * 1024),
    # The default backs off for up to 2 minutes, which prolongs every outage.
    ("grpc.max_reconnect_backoff_ms", 2000),
]

BALANCED = [("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')]
"""Calls take turns among the addresses that a name has; by default all go to the first that answers."""

LONGEST_CALL_SECONDS = 3600.0
"""How long calls may continue over a connection whose certificate was replaced."""

PROXY_VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy")
"""Variables, in either case, by which an environment names proxies."""


def proxy_options(target: str, use_proxy: bool | None = None) -> list[tuple[str, int]]:
    """The channel options that decide whether calls to `target` use the proxy.

    use_proxy: None = not for this machine or its cluster; True = always; False = never.
    """
    if use_proxy is None:
        use_proxy = not is_near(target)
    return [] if use_proxy else [("grpc.enable_http_proxy", 0)]


@dataclass(frozen=True)
class TlsFiles:
    """A client's PEM files: trusted authorities (None = public), certificate and key."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


_began_in: int | None = None
"""The process in which gRPC began to work: its threads do not live on in a process that is forked from it."""


def check_process() -> None:
    """Raise `ForkError` in a process forked after a channel was opened.

    Calls would hang.
    """
    if _began_in not in (None, os.getpid()):
        raise ForkError(
            f"this process ({os.getpid()}) was forked from one that had used gRPC ({_began_in}), and gRPC does not "
            "work after that. Start processes by 'spawn' or 'forkserver' (multiprocessing.get_context), or make the "
            "first client after the fork"
        )


def open_channel(
    target: str,
    *,
    tls: TlsFiles | None = None,
    token: Callable[[], str] | None = None,
    may_send_token_in_clear: bool = False,
    use_proxy: bool | None = None,
    is_balanced: bool = False,
) -> grpc.aio.Channel:
    """A channel on the running event loop.

    `is_balanced`: calls take turns among all addresses of the target. `use_proxy`: see `proxy_options`; a token without
    TLS meets no proxy, unless it is True.
    Raises `SettingsError` where a file cannot be used, or where the token would cross the network unencrypted, and
    `ForkError` where gRPC cannot work.
    """
    global _began_in
    check_process()
    _began_in = os.getpid()
    balancing = BALANCED if is_balanced else []
    if tls is None and token is None:
        options = [*CHANNEL_OPTIONS, *balancing, *proxy_options(target, use_proxy)]
        return grpc.aio.insecure_channel(target, options=options)
    if tls is None and not (is_loopback(target) or may_send_token_in_clear):
        raise SettingsError(
            f"the token is not sent to {target} without TLS, since anyone on the way could read it; "
            "use TLS (tls=True or tls_ca=...; --tls or --tls-ca), or an address of this machine"
        )
    options = [*CHANNEL_OPTIONS, *balancing, *proxy_options(target, use_proxy if tls else bool(use_proxy))]
    return _SecuredChannel(target, tls, token, options)


class _SecuredChannel(grpc.aio.Channel):
    """A channel that reopens when certificates change, and adds the token to calls."""

    def __init__(
        self, target: str, tls: TlsFiles | None, token: Callable[[], str] | None, options: list[tuple[str, Any]]
    ) -> None:
        self._target = target
        self._options = options
        self._token = token
        self._files = _watched(tls) if tls else None
        self._credentials = self._files.get() if self._files else None
        self._inner = self._open()
        self._closing: set[asyncio.Task[None]] = set()

    def unary_unary(self, *form: Any, **named: Any) -> Any:
        return self._calling("unary_unary", *form, **named)

    def unary_stream(self, *form: Any, **named: Any) -> Any:
        return self._calling("unary_stream", *form, **named)

    def stream_unary(self, *form: Any, **named: Any) -> Any:
        return self._calling("stream_unary", *form, **named)

    def stream_stream(self, *form: Any, **named: Any) -> Any:
        return self._calling("stream_stream", *form, **named)

    async def close(self, grace: float | None = None) -> None:
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._current().channel_ready()

    async def __aenter__(self) -> _SecuredChannel:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def _calling(self, kind: str, *form: Any, **named: Any) -> Callable[..., Any]:
        def call(*request: Any, metadata: Any = None, **options: Any) -> Any:
            multicallable = getattr(self._current(), kind)(*form, **named)
            return multicallable(*request, metadata=self._with_token(metadata), **options)

        return call

    def _with_token(self, metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
        token = (("authorization", f"Bearer {self._token()}"),) if self._token else ()
        return (*(metadata or ()), *token)

    def _current(self) -> grpc.aio.Channel:
        """The channel with the current certificates."""
        credentials = self._files.get() if self._files else None
        if credentials is not self._credentials:
            closing = asyncio.create_task(self._inner.close(LONGEST_CALL_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._credentials = credentials
            self._inner = self._open()
        return self._inner

    def _open(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._target, options=self._options)
        return grpc.aio.secure_channel(self._target, self._credentials, options=self._options)


def _watched(tls: TlsFiles) -> Watched[grpc.ChannelCredentials]:
    if (tls.certificate is None) != (tls.key is None):
        raise SettingsError("a client certificate needs its key, and a key its certificate: give both or neither")
    paths = [path for path in (tls.ca, tls.certificate, tls.key) if path]
    return Watched(paths, lambda: _credentials(tls))


def _credentials(tls: TlsFiles) -> grpc.ChannelCredentials:
    if tls.certificate and tls.key:
        check_pair(tls.certificate, tls.key)
    if tls.ca:
        check_authorities(tls.ca)
    ca, certificate, key = (path.read_bytes() if path else None for path in (tls.ca, tls.certificate, tls.key))
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=certificate)


def check_pair(certificate: Path, key: Path) -> None:
    """Raise `SettingsError` unless these are a PEM certificate chain and its key.

    The key must have no password.
    """
    for path in (certificate, key):
        _check_is_file(path)
    try:
        # An encrypted key is rejected, because nobody can enter its password.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{certificate} and {key} are not a PEM certificate and its unencrypted key: {error}"
        ) from None


def check_authorities(ca: Path) -> None:
    """Raise `SettingsError` unless this is a PEM file with at least one certificate."""
    _check_is_file(ca)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(ca)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{ca} holds no PEM certificates: {error}") from None


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise SettingsError(f"there is no file {path}")
