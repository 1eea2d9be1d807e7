"""The connection options of the commands: target, TLS, credentials.

The token itself is not an option, because process lists show options.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from imgedit.addresses import check_target
from imgedit.cli.console import fail
from imgedit.cli.exit_codes import ExitCode
from imgedit.cli.help_layout import CONNECTION
from imgedit.cli.options import instead_of
from imgedit.client import DEFAULT_TARGET, TARGET_VARIABLE, ClientOptions, EditClient
from imgedit.errors import SettingsError
from imgedit.sync_client import SyncEditClient

TOKEN_VARIABLE = "IMGEDIT_TOKEN"  # noqa: S105  # the name of a variable


@dataclass(frozen=True)
class _Connection:
    target: str
    options: ClientOptions

    def open(self) -> SyncEditClient:
        """A client for plain code."""
        try:
            return SyncEditClient(self.target, **self.options)
        except SettingsError as error:
            _refuse(error)

    def open_async(self) -> EditClient:
        """A client for the running event loop."""
        try:
            return EditClient(self.target, **self.options)
        except SettingsError as error:
            _refuse(error)


Connect = Callable[[], _Connection]


def _options(
    target: Annotated[
        str,
        typer.Option(
            help="Address of the server, HOST:PORT: its orchestrator or its edge.",
            metavar="HOST:PORT",
            envvar=TARGET_VARIABLE,
            rich_help_panel=CONNECTION,
        ),
    ] = DEFAULT_TARGET,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help=f"File that holds the API token; or set the variable {TOKEN_VARIABLE} to the token.",
            envvar="IMGEDIT_TOKEN_FILE",
            rich_help_panel=CONNECTION,
        ),
    ] = None,
    tls: Annotated[
        bool,
        typer.Option(
            "--tls", help="Use TLS, trusting the public authorities.", envvar="IMGEDIT_TLS", rich_help_panel=CONNECTION
        ),
    ] = False,
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            help="Use TLS, trusting the authorities of this PEM file.",
            envvar="IMGEDIT_TLS_CA",
            rich_help_panel=CONNECTION,
        ),
    ] = None,
    client_certificate: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of the certificate to show.", envvar="IMGEDIT_CLIENT_CERTIFICATE", rich_help_panel=CONNECTION
        ),
    ] = None,
    client_key: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of that certificate's key.", envvar="IMGEDIT_CLIENT_KEY", rich_help_panel=CONNECTION
        ),
    ] = None,
    use_proxy: Annotated[
        bool | None,
        typer.Option(
            "--use-proxy/--no-proxy",
            help="Reach the server through the proxy that https_proxy or http_proxy names, or never. "
            "[default: the proxy, except for servers on this machine or in its cluster]",
            envvar="IMGEDIT_USE_PROXY",
            rich_help_panel=CONNECTION,
        ),
    ] = None,
) -> _Connection:
    """How to reach the server, by these options."""
    try:
        check_target(target)
    except SettingsError as error:
        fail(f"--target: {error.message}", ExitCode.USAGE)
    try:
        options = ClientOptions(
            token=_token(token_file),
            tls=tls,
            tls_ca=tls_ca,
            client_certificate=client_certificate,
            client_key=client_key,
            use_proxy=use_proxy,
        )
    except SettingsError as error:
        _refuse(error)
    return _Connection(target, options)


def connection_by(params: Mapping[str, Any]) -> _Connection:
    """The connection that a command's parameters name."""
    return _options(**{name: params[name] for name in inspect.signature(_options).parameters})


connecting = instead_of("connect", _options)
"""Gives a command the options above instead of its parameter `connect`."""


def _refuse(error: SettingsError) -> NoReturn:
    fail(error.message)


def _token(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"the token cannot be read from {file}: {error}") from None
    if not token:
        raise SettingsError(f"{file} holds no token")
    return token
