"""The edge's Lua scripts: the hand-written parts in lua/ with tables made from the protos and the error classes.

Knows google.api.http annotations; knows no path, message or field by name.
"""

from __future__ import annotations

import re
from pathlib import Path

import grpc
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodDescriptorProto

from imgedit.errors import ImgeditError, ScopeMissing, ServiceUnavailable, Unauthenticated

FOLDER = Path(__file__).parent / "lua"

# What the check of a credential can end with.
_ERRORS: tuple[type[ImgeditError], ...] = (Unauthenticated, ScopeMissing, ServiceUnavailable)


def headers(files: FileDescriptorSet, service: str) -> bytes:
    """The script that judges a call before its body is read."""
    return _joined(_part("refuse"), _errors(), _calls(files, service), _part("headers"))


def _joined(*parts: str) -> bytes:
    return "\n".join(["-- Made from lua/, the protos and imgedit/errors.py by `make protos`.", *parts]).encode()


def _part(name: str) -> str:
    return (FOLDER / f"{name}.lua").read_text(encoding="utf-8")


def _errors() -> str:
    lines = [
        f'  [{_number(error.code)}] = {{reason = "{error.reason}", korean = "{error.default_korean}"}},'
        for error in _ERRORS
    ]
    return "\n".join(["-- Errors by their gRPC code.", "local ERRORS = {", *lines, "}", ""])


def _number(code: grpc.StatusCode) -> int:
    number: int = code.value[0]
    return number


def _calls(files: FileDescriptorSet, service: str) -> str:
    """The calls that have one body, as Lua patterns of their paths, and the RPC of each."""
    lines = []
    for method in _methods(files, service):
        rpc = f"/{service}/{method.name}"
        rule = method.options.Extensions[annotations_pb2.http]
        if rule.body:
            path = re.sub(r"\{\w+\}", "[^/]+", _escaped(getattr(rule, rule.WhichOneof("pattern"))))
            lines.append(f'  {{path = "^{path}$", rpc = "{rpc}"}},')
        if not method.client_streaming:
            lines.append(f'  {{path = "^{_escaped(rpc)}$", rpc = "{rpc}"}},')
    return "\n".join(["-- Paths of the calls that have one body, and their RPCs.", "local CALLS = {", *lines, "}", ""])


def _methods(files: FileDescriptorSet, service: str) -> list[MethodDescriptorProto]:
    package, _, name = service.rpartition(".")
    [found] = [item for file in files.file if file.package == package for item in file.service if item.name == name]
    return list(found.method)


def _escaped(path: str) -> str:
    """A path as a Lua pattern; braces stay as they are."""
    return re.sub(r"([^\w/{}])", r"%\1", path)
