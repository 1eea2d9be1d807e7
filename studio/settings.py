"""Settings of the page: one frozen object, read once; studio/README.md lists them.

An invalid value stops the start and names the variable.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgedit.client import DEFAULT_TARGET, DEFAULT_TIMEOUT, ClientOptions
from imgedit.errors import SettingsError
from imgedit.local.ports import DEFAULT_STUDIO_PORT

PREFIX = "IMGEDIT_STUDIO_"

MAX_UPLOAD_MIB = 64
"""Of one file. Twice what the API takes: larger photos are reduced."""

CHOICES = {"language": ("ko", "en"), "login": ("off", "oidc")}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def _setting(default: Any, description: str) -> Any:
    return dataclasses.field(default=default, metadata={"description": description})


@dataclass(frozen=True)
class Settings:
    """All settings; unset paths and texts are ""."""

    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(DEFAULT_STUDIO_PORT, "port of the page")
    hosts: str = _setting("", "host names of the page, comma-separated; empty = any, on loopback only this machine's")
    base_path: str = _setting("", "path of the page behind a proxy, for instance `studio`")
    server: str = _setting(DEFAULT_TARGET, "address of the orchestrator, or of the edge")
    timeout: float = _setting(DEFAULT_TIMEOUT, "time limit of one edit, in seconds")
    token: str = _setting("", "API token for every call; empty = none")
    token_file: str = _setting("", "file with the token")
    token_in_clear: bool = _setting(
        False, "allow sending the token to another machine without TLS, in a trusted network"
    )
    tls: bool = _setting(False, "use TLS and trust the public authorities")
    tls_ca: str = _setting("", "PEM file of the authorities to trust; turns TLS on")
    client_certificate: str = _setting("", "PEM file of the client certificate")
    client_key: str = _setting("", "PEM file of its key")
    login: str = _setting("off", "`oidc` = login required, by the `[auth]` section of `secrets`")
    secrets: str = _setting("", "TOML file with Streamlit's secrets, for the login")
    language: str = _setting("ko", "initial language of the page, `ko` or `en`")
    samples: str = _setting("", "folder of sample images (PNG, JPEG, WebP); empty = no samples")
    max_files: int = _setting(50, "most images of one batch")
    max_pages: int = _setting(500, "most open pages; of these, an address may have half of what the others leave")
    history_bytes: int = _setting(256 * 1024 * 1024, "memory for the results of one session; the oldest go first")
    upload_bytes: int = _setting(
        1536 * 1024**2,
        "memory for the uploads of all open sessions; an address may take half of what the others leave",
    )
    upload_bytes_per_visit: int = _setting(512 * 1024**2, "memory for the uploads of one session")
    keep_minutes: float = _setting(
        120.0, "minutes to keep a session after its last use, for a refresh or a lost connection"
    )
    keep_bytes: int = _setting(
        2 * 1024**3, "memory for the images of all kept sessions; the least recently used go first"
    )
    gallery: str = _setting("", "folder for the results of earlier visits; empty = nothing is written to disk")
    gallery_bytes: int = _setting(20 * 1024**3, "disk for the gallery; the oldest go first, starred ones last")
    gallery_bytes_per_user: int = _setting(
        2 * 1024**3, "disk for the gallery of one user, or without a login of one browser"
    )
    gallery_days: float = _setting(30.0, "days to keep a result in the gallery; starred ones stay")

    @property
    def client_options(self) -> ClientOptions:
        """The connection options of the client.

        Raises `SettingsError` for an unreadable token file.
        """
        return {
            "token": self._token() or None,
            "token_in_clear": self.token_in_clear,
            "tls": self.tls,
            "tls_ca": self.tls_ca or None,
            "client_certificate": self.client_certificate or None,
            "client_key": self.client_key or None,
        }

    def _token(self) -> str:
        if not self.token_file:
            return self.token
        try:
            return Path(self.token_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(f"{PREFIX}TOKEN_FILE: cannot be read: {error}") from None


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process.

    Raises `SettingsError` for an invalid value or an unknown variable.
    """
    fields = {f"{PREFIX}{field.name.upper()}": field for field in dataclasses.fields(Settings)}
    given = {name: text for name, text in environment.items() if name.startswith(PREFIX)}
    if unknown := sorted(set(given) - set(fields)):
        raise SettingsError(f"{', '.join(unknown)}: no such setting; known are {', '.join(sorted(fields))}")
    settings = Settings(**{fields[name].name: _value(name, text, fields[name]) for name, text in given.items()})
    if settings.login == "oidc" and not settings.secrets:
        raise SettingsError(f"{PREFIX}LOGIN is oidc: set {PREFIX}SECRETS to the file that holds the [auth] section")
    return settings


def _value(variable: str, text: str, field: dataclasses.Field[Any]) -> Any:
    choices = CHOICES.get(field.name)
    if choices and text not in choices:
        raise SettingsError(f"{variable}: must be one of {', '.join(choices)}, is {text!r}")
    try:
        if isinstance(field.default, bool):
            return _BOOLEANS[text.lower()]
        kind_of: type[Any] = type(field.default)
        value = kind_of(text)
    except (ValueError, KeyError):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[type(field.default)]
        raise SettingsError(f"{variable}: must be {kind}, is {text!r}") from None
    if isinstance(value, int | float) and value < 0:
        raise SettingsError(f"{variable}: must not be negative, is {text!r}")
    return value
