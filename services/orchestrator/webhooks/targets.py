"""Webhook URLs, and the hosts that the operator allows.

A URL is split by one expression, so no second parser can read another host in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from imgedit.errors import InvalidArgument, quoted

FIELD = "webhook_url"
MAX_URL_CHARACTERS = 2048
MAX_HOST_CHARACTERS = 253
HTTPS_PORT = 443

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last label begins with a letter: 127.1, 2130706433 and 0x7f000001 are addresses.
_NAME = rf"(?:{_LABEL}\.)*[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?"
_PORT = "(?::(?P<port>[0-9]{1,5}))?"
_URL = re.compile(rf"https://(?P<host>{_NAME}){_PORT}(?P<rest>[/?][A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?", re.IGNORECASE)
_ALLOWED = re.compile(rf"(?P<wildcard>\*\.)?(?P<host>{_NAME}){_PORT}", re.IGNORECASE)


@dataclass(frozen=True)
class Target:
    """A checked webhook URL. `path`: with the query, as sent."""

    host: str
    port: int
    path: str


@dataclass(frozen=True)
class AllowedHost:
    """A host of the operator's list.

    A wildcard stands for its subdomains, not for itself.
    """

    name: str
    port: int
    is_wildcard: bool

    def allows(self, target: Target) -> bool:
        """Whether a URL may name this host."""
        if target.port != self.port:
            return False
        return target.host.endswith(f".{self.name}") if self.is_wildcard else target.host == self.name


def read_allowed_hosts(listed: str) -> tuple[AllowedHost, ...]:
    """Parse NAME, NAME:PORT or *.NAME, separated by commas.

    Raises ValueError that names the entry at fault.
    """
    return tuple(_allowed_host(entry.strip()) for entry in listed.split(",")) if listed.strip() else ()


def read_target(url: str, allowed: Sequence[AllowedHost]) -> Target:
    """Parse a webhook URL.

    Raises `InvalidArgument` for one that is not https, names an address or a host that is not allowed.
    """
    match = _match(url)
    target = Target(match["host"].lower(), int(match["port"] or HTTPS_PORT), _path(match["rest"] or ""))
    if len(target.host) > MAX_HOST_CHARACTERS:
        raise _fault(f"must name a host of at most {MAX_HOST_CHARACTERS} characters, has {len(target.host)}")
    if not any(host.allows(target) for host in allowed):
        raise InvalidArgument.field(
            FIELD,
            f"must name a host that this server allows, not {quoted(target.host)} at port {target.port}",
            korean=f"이 서버는 {quoted(target.host)} 주소(포트 {target.port})로 웹훅을 보내지 않습니다.",
        )
    return target


def _allowed_host(entry: str) -> AllowedHost:
    match = _ALLOWED.fullmatch(entry)
    port = int(match["port"] or HTTPS_PORT) if match else 0
    if match is None or len(match["host"]) > MAX_HOST_CHARACTERS or not 1 <= port <= 65535:
        raise ValueError(f"must be NAME, NAME:PORT or *.NAME, separated by commas; {entry!r} is not")
    return AllowedHost(match["host"].lower(), port, match["wildcard"] is not None)


def _match(url: str) -> re.Match[str]:
    if len(url) > MAX_URL_CHARACTERS:
        raise _fault(f"must have at most {MAX_URL_CHARACTERS} characters, has {len(url)}")
    if not url.lower().startswith("https://"):
        raise _fault("must begin with https://")
    if "#" in url:
        raise _fault("must have no fragment, the part from '#' on")
    if "@" in re.split(r"[/?]", url.removeprefix(url[:8]), maxsplit=1)[0]:
        raise _fault("must have no user name or password")
    match = _URL.fullmatch(url)
    if match is None:
        raise _fault(
            "must be https://HOST/PATH with the name of a host, not an address; other characters than letters, digits "
            "and signs of URLs are percent-encoded"
        )
    return match


def _path(rest: str) -> str:
    return rest if rest.startswith("/") else f"/{rest}"


def _fault(description: str) -> InvalidArgument:
    return InvalidArgument.field(
        FIELD, description, korean="webhook_url은 사용자 이름과 '#' 없는 https:// 주소여야 합니다(호스트 이름 필수)."
    )
