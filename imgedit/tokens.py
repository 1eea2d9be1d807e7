"""API tokens: creation, and their lines in a file of tokens.

A token has 256 random bits, so a plain SHA-256 reveals nothing and is fast to compare. Salted, slow hashes are for
human passwords; tokens are only generated, never chosen.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from imgedit.errors import SettingsError

Scope = Literal["edit", "list", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ANONYMOUS = "anonymous"
"""The caller of a server that asks for no credential; no token may have this name."""

PREFIX = "imgedit_"
"""Lets secret scanners recognise a token."""


@dataclass(frozen=True)
class Credential:
    """A caller, the SHA-256 of its token, and its scopes."""

    name: str
    digest: bytes
    scopes: frozenset[str]

    @property
    def line(self) -> str:
        """The line for the file of tokens."""
        scopes = ",".join(scope for scope in SCOPES if scope in self.scopes)
        return f"{self.name} sha256:{self.digest.hex()} {scopes}"


def digest(token: str) -> bytes:
    """SHA-256 of a token, 32 bytes."""
    return hashlib.sha256(token.encode()).digest()


def make(name: str, scopes: Sequence[str]) -> tuple[str, Credential]:
    """A new token and its credential.

    Raises `SettingsError` for an invalid name or scope.
    """
    token = PREFIX + secrets.token_urlsafe(32)
    return token, credential(name, digest(token), scopes)


def credential(name: str, token_digest: bytes, scopes: Sequence[str]) -> Credential:
    """A checked credential.

    Raises `SettingsError`.
    """
    if not NAME.fullmatch(name) or name == ANONYMOUS:
        raise SettingsError(
            f"the name {name[:80]!r} must have 1 to 64 letters, digits, '.', '_' or '-', begin with a letter or "
            f"digit, and not be {ANONYMOUS!r}"
        )
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        given = f"{unknown[0][:80]!r} is not" if unknown else "there is none"
        raise SettingsError(f"scopes must be one or more of {', '.join(SCOPES)}; {given}")
    return Credential(name, token_digest, frozenset(scopes))
