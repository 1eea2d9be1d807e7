"""The reference of the gRPC API and its REST paths, from commented protos.

Uses google.api.http annotations and proto3's JSON mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from deploy.envoy.build import PROTOS, compile_protos
from docs_tools.markdown import code, table, titled

PACKAGE = "imgedit.v1"
PUBLIC = "EditService"

_Field = FieldDescriptorProto

SCALARS = {
    _Field.TYPE_STRING: "string",
    _Field.TYPE_BYTES: "bytes",
    _Field.TYPE_BOOL: "bool",
    _Field.TYPE_INT32: "int32",
    _Field.TYPE_UINT32: "uint32",
    _Field.TYPE_DOUBLE: "double",
}
NUMBERS = (_Field.TYPE_INT32, _Field.TYPE_UINT32, _Field.TYPE_DOUBLE)
JSON_SCALARS = {**SCALARS, _Field.TYPE_BYTES: "base64 string", **dict.fromkeys(NUMBERS, "number")}

GRPC_HEAD = """# gRPC reference

Package `imgedit.v1`, from the comments of `protos/imgedit/v1/*.proto`. Clients call `EditService`; the orchestrator
calls the other services. [The API](../api.md) tells how the parts belong together, [errors](errors.md) why a call
fails. *optional*: the field tells unset from its zero value.

"""

REST_HEAD = """# REST reference

The edge's JSON API on its port (`imgedit up --gateway`: 8080), generated from the same protos as the [gRPC
reference](grpc.md), which describes its messages and enums. `/openapi.json` is the machine-readable form.

- Send `content-type: application/json`; other types get 415.
- Images are base64; enums are their names, for instance `"PROFILE_FAST"`.
- If tokens are required, send `authorization: Bearer TOKEN`. `x-imgedit-request-id` is returned, and may be sent.
- A failure is a `google.rpc.Status` with the matching HTTP status; its reason is in `details`
  ([errors](errors.md)).
- Unknown keys are rejected with the nearest known one, in nested messages too. An image is base64, or a `data:` URL.

"""


def pages(folder: Path) -> dict[Path, str]:
    """The two pages of the reference, by path."""
    sources = sorted(f"imgedit/v1/{path.name}" for path in (PROTOS / "imgedit" / "v1").glob("*.proto"))
    book = Book(compile_protos(sources))
    return {folder / "grpc.md": book.grpc(), folder / "rest.md": book.rest()}


@dataclass(frozen=True)
class Route:
    """One HTTP path of a method."""

    verb: str
    path: str
    has_body: bool


class Book:
    """Builds the pages from a descriptor set that was compiled with source info."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self._files = [file for file in files.file if file.package == PACKAGE]
        self._comments: dict[str, str] = {}
        self._messages: dict[str, DescriptorProto] = {}
        for file in self._files:
            self._comments |= dict(comments(file))
            self._messages |= {f".{PACKAGE}.{message.name}": message for message in file.message_type}

    def comment(self, *names: str) -> str:
        """The proto's comment on a service, method, message, field, enum or value."""
        return self._comments.get(".".join(names), "")

    def grpc(self) -> str:
        """Every service, then every message and enum by name."""
        services = [service for file in self._files for service in file.service]
        services.sort(key=lambda service: (service.name != PUBLIC, service.name))
        messages = sorted((m for file in self._files for m in file.message_type), key=lambda message: message.name)
        enums = sorted((e for file in self._files for e in file.enum_type), key=lambda enum: enum.name)
        parts = [titled(GRPC_HEAD), *map(self._service, services), "## Messages\n\n", *map(self._message, messages)]
        return "".join([*parts, "## Enums\n\n", *map(self._enum, enums)])

    def rest(self) -> str:
        """Every method that has an HTTP path."""
        services = [service for file in self._files for service in file.service]
        found = [(service, method, http(method)) for service in services for method in service.method]
        parts = [self._endpoint(service, method, route) for service, method, route in found if route]
        return "".join([titled(REST_HEAD), *parts])

    def _service(self, service: ServiceDescriptorProto) -> str:
        rows = [
            (
                f"**{method.name}**",
                _streamed(method.client_streaming) + _link(method.input_type),
                _streamed(method.server_streaming) + _link(method.output_type),
                self.comment(service.name, method.name),
            )
            for method in service.method
        ]
        head = f"## {service.name}\n\n{self.comment(service.name)}\n\n"
        return head + table(["RPC", "request", "answer", "what it does"], rows)

    def _message(self, message: DescriptorProto) -> str:
        rows = [
            (f"{code(field.name)} = {field.number}", self._type(field), self._told(message, field))
            for field in message.field
        ]
        fields = table(["field", "type", "meaning"], rows) if rows else "No fields.\n\n"
        return f"### {message.name}\n\n{self.comment(message.name)}\n\n{fields}"

    def _told(self, message: DescriptorProto, field: FieldDescriptorProto) -> str:
        text = self.comment(message.name, field.name)
        if field.HasField("oneof_index") and not field.proto3_optional:
            return f"{text} One of `{message.oneof_decl[field.oneof_index].name}`."
        return text if field.json_name == field.name else f"{text} In JSON: `{field.json_name}`."

    def _type(self, field: FieldDescriptorProto) -> str:
        name = SCALARS[field.type] if field.type in SCALARS else _link(field.type_name)
        if field.label == _Field.LABEL_REPEATED:
            return f"repeated {name}"
        return f"optional {name}" if field.proto3_optional else name

    def _enum(self, enum: EnumDescriptorProto) -> str:
        rows = [(f"{code(value.name)} = {value.number}", self.comment(enum.name, value.name)) for value in enum.value]
        return f"### {enum.name}\n\n{self.comment(enum.name)}\n\n{table(['value', 'meaning'], rows)}"

    def _endpoint(self, service: ServiceDescriptorProto, method: MethodDescriptorProto, route: Route) -> str:
        request = self._messages[method.input_type]
        in_path = re.findall(r"\{(\w+)\}", route.path)
        where = "body" if route.has_body else "query"
        rows = [
            (
                code(field.json_name),
                "path" if field.name in in_path else where,
                self._json_type(field),
                self.comment(request.name, field.name),
            )
            for field in request.field
        ]
        head = f"## {method.name}\n\n**`{route.verb.upper()} {route.path}`**\n\n"
        fields = table(["key", "in", "type", "meaning"], rows)
        said = "one JSON object per line, each an" if method.server_streaming else "the"
        answer = f"Answer: {said} {_link(method.output_type, 'grpc.md')}.\n\n"
        return f"{head}{self.comment(service.name, method.name)}\n\n{fields}{answer}"

    def _json_type(self, field: FieldDescriptorProto) -> str:
        name = JSON_SCALARS[field.type] if field.type in JSON_SCALARS else _link(field.type_name, "grpc.md")
        return f"list of {name}" if field.label == _Field.LABEL_REPEATED else name


def http(method: MethodDescriptorProto) -> Route | None:
    """The method's HTTP path; None = gRPC only."""
    rule = method.options.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return Route(verb, getattr(rule, verb), rule.body == "*") if verb else None


def comments(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """Each comment of a file, by the dotted name (without the package) of its element."""
    for location in file.source_code_info.location:
        name = _name(file, list(location.path))
        if location.leading_comments and name:
            yield name, _paragraphs(location.leading_comments)


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def _name(file: FileDescriptorProto, path: list[int]) -> str:
    lists: dict[int, Any] = {4: file.message_type, 5: file.enum_type, 6: file.service}
    inner = {(4, 2): "field", (5, 2): "value", (6, 2): "method"}
    if len(path) not in (2, 4) or path[0] not in lists:
        return ""
    node: Any = lists[path[0]][path[1]]
    if len(path) == 2:
        return str(node.name)
    if (path[0], path[2]) not in inner:
        return ""
    return f"{node.name}.{getattr(node, inner[path[0], path[2]])[path[3]].name}"


def _streamed(is_stream: bool) -> str:
    return "stream of " if is_stream else ""


def _link(type_name: str, page: str = "") -> str:
    name = type_name.rsplit(".", 1)[-1]
    if not type_name.startswith(f".{PACKAGE}."):
        return code(type_name.removeprefix("."))
    return f"[{name}]({page}#{name.lower()})"
