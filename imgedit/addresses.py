"""Whether an address stays on this machine. Names are judged as they are written; nothing is resolved."""

from __future__ import annotations

import ipaddress
import re

_SCHEME = re.compile(r"(?:dns|ipv4|ipv6):(?://[^/]*/)?")
_PORT = re.compile(r":\d+$")


def is_loopback(address: str) -> bool:
    """Whether every host of a gRPC target ("host:port", "ipv4:host:port,host:port", "unix:path" ...) is this machine.

    A name other than "localhost" counts as another machine, since what it resolves to may change.
    """
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    hosts = _SCHEME.sub("", address, count=1).split(",")
    return all(_is_loopback_host(host) for host in hosts)


def _is_loopback_host(host: str) -> bool:
    bare = host if host.count(":") > 1 and "]" not in host else _PORT.sub("", host)
    bare = bare.removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(bare).is_loopback
    except ValueError:
        return bare.lower() == "localhost"
