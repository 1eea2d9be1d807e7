"""Generate the edge's Lua scripts: the hand-written parts in lua/ with tables.

The tables come from the protos, their google.api.http annotations and the error classes.
"""

from __future__ import annotations

import re
from pathlib import Path

import grpc
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet, MethodDescriptorProto

from deploy.envoy.http_rules import Route, routes
from imgedit.errors import ImgeditError, ScopeMissing, ServiceUnavailable, Unauthenticated

FOLDER = Path(__file__).parent / "lua"

# The possible results of a credential check.
_ERRORS: tuple[type[ImgeditError], ...] = (Unauthenticated, ScopeMissing, ServiceUnavailable)


def headers(files: FileDescriptorSet, service: str) -> bytes:
    """The script that checks a call before its body is read."""
    return _joined(_part("refuse"), _errors(), _calls(files, service), _part("headers"))


def body(files: FileDescriptorSet, service: str) -> bytes:
    """The script that checks the names in the query and the JSON body."""
    return _joined(_part("refuse"), _routes(files, service), _part("body"))


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
    """The calls with one body, as Lua patterns of their paths, and the RPC of each."""
    lines = []
    for method in _methods(files, service):
        rpc = f"/{service}/{method.name}"
        with_body = [route for route in routes(method) if route.has_body]
        lines += [f'  {{path = "{_pattern(route)}", rpc = "{rpc}"}},' for route in with_body]
        if not method.client_streaming:
            lines.append(f'  {{path = "^{_escaped(rpc)}$", rpc = "{rpc}"}},')
    return "\n".join(["-- Paths of the calls that have one body, and their RPCs.", "local CALLS = {", *lines, "}", ""])


def _routes(files: FileDescriptorSet, service: str) -> str:
    """The JSON paths, their messages' fields and the names of enums.

    A field is "bytes", "value", an enum or a message.
    """
    paths, pending = [], []
    enums: dict[str, str] = {}
    names = {
        f".{file.package}.{enum.name}": ", ".join(f'"{value.name}"' for value in enum.value)
        for file in files.file
        for enum in file.enum_type
    }
    for method in _methods(files, service):
        for route in routes(method):
            paths.append(_route(route, method.input_type.rpartition(".")[2]))
            pending.append(method.input_type)
    messages = {f".{file.package}.{item.name}": item for file in files.file for item in file.message_type}
    fields: dict[str, str] = {}
    aliases = []
    while pending:
        found = messages[pending.pop(0)]
        if found.name in fields:
            continue
        fields[found.name] = ", ".join(f'{field.json_name} = "{_kind(field)}"' for field in found.field)
        pending += [field.type_name for field in found.field if field.type == FieldDescriptorProto.TYPE_MESSAGE]
        used = [field.type_name for field in found.field if field.type == FieldDescriptorProto.TYPE_ENUM]
        enums |= {name.rpartition(".")[2]: names[name] for name in used}
        others = [f'{field.name} = "{field.json_name}"' for field in found.field if field.name != field.json_name]
        if others:
            aliases.append(f"  {found.name} = {{{', '.join(others)}}},")
    lines = ["-- The JSON paths, their messages, and the field that is in the path.", "local ROUTES = {", *paths, "}"]
    lines += ["local FIELDS = {", *(f"  {name} = {{{text}}}," for name, text in fields.items()), "}"]
    lines += ["local ENUMS = {", *(f"  {name} = {{{text}}}," for name, text in enums.items()), "}"]
    lines += ["-- The protos' own names, which are taken too.", "local ALIASES = {", *aliases, "}", ""]
    return "\n".join(lines)


def _route(route: Route, message: str) -> str:
    [bound] = re.findall(r"\{(\w+)\}", route.path) or [""]
    parts = [f'verb = "{route.verb.upper()}"', f'path = "{_pattern(route)}"', f'message = "{message}"']
    parts += [f'bound = "{bound}"'] if bound else []
    parts += ["has_body = true"] if route.has_body else []
    return f"  {{{', '.join(parts)}}},"


def _kind(field: FieldDescriptorProto) -> str:
    if field.type in (FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_ENUM):
        return field.type_name.rpartition(".")[2]
    return "bytes" if field.type == FieldDescriptorProto.TYPE_BYTES else "value"


def _pattern(route: Route) -> str:
    """A JSON path as a Lua pattern."""
    return "^" + re.sub(r"\{\w+\}", "[^/]+", _escaped(route.path)) + "$"


def _methods(files: FileDescriptorSet, service: str) -> list[MethodDescriptorProto]:
    package, _, name = service.rpartition(".")
    [found] = [item for file in files.file if file.package == package for item in file.service if item.name == name]
    return list(found.method)


def _escaped(path: str) -> str:
    """A path as a Lua pattern with unchanged braces."""
    return re.sub(r"([^\w/{}])", r"%\1", path)
