"""The credentials that a server accepts, from a setting or from a reloaded file.

`access.py` uses them to decide on calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from imgedit import tokens
from imgedit.errors import SettingsError
from imgedit.file_watch import Watched
from imgedit.tokens import Credential
from services.common import metrics
from services.common.settings import ServiceSettings

T = TypeVar("T")

MIN_SERVICE_TOKEN_CHARACTERS = 32

Read = Callable[[Sequence[str], str], T]
"""Takes lines and the name of where they stand."""


def from_settings(settings: ServiceSettings, name: str, read: Read[T]) -> Callable[[], T] | None:
    """The credentials in the setting `name`, or in the file that `name`_file names.

    None if neither is set. Raises `SettingsError` if both are set or their content is invalid. A changed file is
    reloaded.
    """
    value, file = getattr(settings, name), getattr(settings, f"{name}_file")
    if value and file:
        raise SettingsError(f"{settings.variable(name)} and {settings.variable(name + '_file')}: set one of them")
    if value:
        fixed = read(re.split(r"[;\n]", value), settings.variable(name))
        return lambda: fixed
    if not file:
        return None
    path = Path(file)
    if not path.is_file():
        raise SettingsError(f"{settings.variable(name + '_file')}: there is no file {path}")
    on_fault = metrics.RELOAD_FAILURES.labels(settings.service, name).inc
    return Watched([path], lambda: read(path.read_text(encoding="utf-8").splitlines(), file), on_fault=on_fault).get


def read_credentials(lines: Sequence[str], source: str) -> tuple[Credential, ...]:
    """Parse credential lines "NAME sha256:HEX SCOPE,SCOPE"; '#' begins a comment.

    One name may have several tokens. Raises `SettingsError` that names the invalid line.
    """
    found: dict[bytes, Credential] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            credential = _read_line(words)
        except SettingsError as error:
            raise SettingsError(f"{source}:{number}: {error.message}") from None
        if credential.digest in found:
            raise SettingsError(f"{source}:{number}: duplicate token")
        found[credential.digest] = credential
    if not found:
        raise SettingsError(f"{source}: holds no token, so nobody could call; make one with `imgedit tokens new`")
    return tuple(found.values())


def _read_line(words: Sequence[str]) -> Credential:
    if len(words) != 3:
        raise SettingsError("must be 'NAME sha256:HEX SCOPE,SCOPE', as `imgedit tokens new` prints it")
    name, hashed, scopes = words
    match = re.fullmatch(r"sha256:([0-9a-fA-F]{64})", hashed)
    if match is None:
        raise SettingsError("the second word must be 'sha256:' and 64 hexadecimal digits")
    return tokens.credential(name, bytes.fromhex(match[1]), scopes.split(","))


def read_service_tokens(lines: Sequence[str], source: str) -> tuple[str, ...]:
    """Parse service tokens, one per line.

    The first is sent, all are accepted. Raises `SettingsError`.
    """
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise SettingsError(f"{source}: holds no token")
    for token in found:
        if len(token) < MIN_SERVICE_TOKEN_CHARACTERS or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise SettingsError(
                f"{source}: a service token must have at least {MIN_SERVICE_TOKEN_CHARACTERS} printable characters "
                "without spaces; make one with `openssl rand -hex 32`"
            )
    return tuple(found)
