"""The HTTP paths of a method, from its google.api.http annotation."""

from __future__ import annotations

from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import MethodDescriptorProto


@dataclass(frozen=True)
class Route:
    """One HTTP path of a method. has_body: the request is its JSON body."""

    verb: str
    path: str
    has_body: bool


def routes(method: MethodDescriptorProto) -> list[Route]:
    """The method's HTTP paths, the annotation's first one first; none = gRPC only."""
    first = method.options.Extensions[annotations_pb2.http]
    return [
        Route(verb, getattr(rule, verb), rule.body == "*")
        for rule in (first, *first.additional_bindings)
        if (verb := rule.WhichOneof("pattern"))
    ]
