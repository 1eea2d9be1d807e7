"""Whether a gRPC target stays on this machine or in its cluster.

Names are judged as written, without DNS. Targets are "host:port", "dns:///host:port", "ipv4:host:port,host:port",
"unix:path" ...
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from imgedit.errors import SettingsError

_SCHEME = re.compile(r"(?:dns|ipv4|ipv6):(?://[^/]*/)?")
_URL = re.compile(r"https?://", re.IGNORECASE)
_MAX_PORT = 65_535
_PORT = re.compile(r":\d+$")
_CLUSTER_ENDINGS = (".svc", ".local", ".internal")
"""Kubernetes uses .svc and cluster.local; .local and .internal are reserved for private networks."""


def check_target(target: str) -> None:
    """Raise `SettingsError` for an address that gRPC does not take.

    Examples: a URL, no port, or a port that is not a number.
    """
    shown = target[:200]
    if _URL.match(target):
        rest = _URL.sub("", target).rstrip("/")[:200]
        rest += "" if _PORT.search(rest) else ":PORT"
        raise SettingsError(f"the address {shown!r} must be HOST:PORT, without http:// or https://: {rest!r}")
    if target.strip() != target or not target:
        raise SettingsError(f"the address {shown!r} must be HOST:PORT, without spaces")
    if not target.startswith(("unix:", "unix-abstract:")):
        for host in _SCHEME.sub("", target, count=1).split(","):
            name, _, port = host.rpartition(":")
            if ":" in name and not name.endswith("]"):
                raise SettingsError(f"the address {shown!r} must be HOST:PORT; an IPv6 address as [::1]:PORT")
            if not name or not (port.isascii() and port.isdecimal() and 0 < int(port) <= _MAX_PORT):
                raise SettingsError(f"the address {shown!r} must be HOST:PORT, the port 1 to {_MAX_PORT}")


def is_loopback(address: str) -> bool:
    """Whether every host of a gRPC target is this machine.

    Names other than "localhost" count as other machines, because they may resolve differently later.
    """
    return all(_is_loopback_host(host) for host in _hosts(address))


def is_near(address: str) -> bool:
    """Whether every host of a gRPC target is local, private or in a cluster.

    A cluster name has no dot ("fill"), or ends as Kubernetes' and private names do ("fill.imgedit.svc").
    """
    return all(_is_near_host(host) for host in _hosts(address))


def _hosts(address: str) -> Iterator[str]:
    """The hosts of a target, lower case, without ports and brackets.

    A Unix socket has none.
    """
    if address.startswith(("unix:", "unix-abstract:")):
        return
    for host in _SCHEME.sub("", address, count=1).split(","):
        bare = host if host.count(":") > 1 and "]" not in host else _PORT.sub("", host)
        yield bare.removeprefix("[").removesuffix("]").lower()


def _is_loopback_host(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_near_host(host: str) -> bool:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        name = host.removesuffix(".")
        return "." not in name or name.endswith((*_CLUSTER_ENDINGS, ".localhost"))
    return found.is_loopback or found.is_private or found.is_link_local
