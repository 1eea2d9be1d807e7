"""Find REST paths that clients of the baseline would miss.

`python -m tools.rest_baseline API BASELINE`, both compiled descriptor sets. `buf breaking` compares messages and RPCs,
but no google.api.http annotation. Prints each path of the baseline that its RPC no longer serves in the same way, and
exits with 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from deploy.envoy.http_rules import Route, routes


def paths(compiled: bytes) -> set[tuple[str, Route]]:
    """The RPC and the route of every REST path."""
    files = FileDescriptorSet.FromString(compiled).file
    return {
        (f"{file.package}.{service.name}.{method.name}", route)
        for file in files
        for service in file.service
        for method in service.method
        for route in routes(method)
    }


def missing(api: bytes, baseline: bytes) -> list[str]:
    """A line for each path of the baseline that the API lacks."""
    gone = paths(baseline) - paths(api)
    return sorted(f"{route.verb.upper()} {route.path} no longer calls {rpc} in the same way" for rpc, route in gone)


if __name__ == "__main__":
    lines = missing(*(Path(argument).read_bytes() for argument in sys.argv[1:3]))
    print(*lines, sep="\n", end="\n" if lines else "", file=sys.stderr)
    sys.exit(1 if lines else 0)
