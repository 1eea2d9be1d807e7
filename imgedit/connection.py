"""The options by which a command reaches its server: where it is, whom to trust, what to show.

There is none for the token itself: whoever lists the processes of a machine reads their options.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from imgedit.client import DEFAULT_TARGET
from imgedit.errors import SettingsError
from imgedit.sync_client import SyncEditClient

TOKEN_VARIABLE = "IMGEDIT_TOKEN"  # noqa: S105  # the name of a variable

Connect = Callable[[], SyncEditClient]
Command = TypeVar("Command", bound=Callable[..., Any])

err = Console(stderr=True)


def _options(
    target: Annotated[str, typer.Option(help="Address of the orchestrator.", envvar="IMGEDIT_TARGET")] = DEFAULT_TARGET,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help=f"File that holds the API token; or set the variable {TOKEN_VARIABLE} to the token.",
            envvar="IMGEDIT_TOKEN_FILE",
        ),
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Use TLS, trusting the public authorities.", envvar="IMGEDIT_TLS")
    ] = False,
    tls_ca: Annotated[
        Path | None, typer.Option(help="Use TLS, trusting the authorities of this PEM file.", envvar="IMGEDIT_TLS_CA")
    ] = None,
    client_certificate: Annotated[
        Path | None, typer.Option(help="PEM file of the certificate to show.", envvar="IMGEDIT_CLIENT_CERTIFICATE")
    ] = None,
    client_key: Annotated[
        Path | None, typer.Option(help="PEM file of that certificate's key.", envvar="IMGEDIT_CLIENT_KEY")
    ] = None,
) -> SyncEditClient:
    """A client by these options."""
    try:
        return SyncEditClient(
            target,
            token=_token(token_file),
            tls=tls,
            tls_ca=tls_ca,
            client_certificate=client_certificate,
            client_key=client_key,
        )
    except SettingsError as error:
        err.print(f"[red]error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def connecting(command: Command) -> Command:
    """Give a command the options above instead of its parameter `connect`, which opens a client by them."""
    signature = inspect.signature(command, eval_str=True)
    options = inspect.signature(_options, eval_str=True).parameters
    own = [parameter for name, parameter in signature.parameters.items() if name != "connect"]

    @functools.wraps(command)
    def with_options(**values: Any) -> Any:
        given = {name: values.pop(name) for name in options}
        return command(**values, connect=functools.partial(_options, **given))

    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in options.values()]
    with_options.__signature__ = signature.replace(parameters=[*own, *keyword])  # type: ignore[attr-defined]
    return with_options  # type: ignore[return-value]  # a command all the same


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
