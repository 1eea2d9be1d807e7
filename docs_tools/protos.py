"""The references of the gRPC APIs and the REST paths, from commented protos.

Uses google.api.http annotations and proto3's JSON mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from deploy.envoy.http_rules import Route, routes
from docs_tools.markdown import code, table, titled

PUBLIC = "imgedit.v1"
INFERENCE = "imgedit.inference.v1"
PAGES = {PUBLIC: "grpc.md", INFERENCE: "inference.md"}
"""The page of each package."""

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

Package `imgedit.v1`, the public API, from the comments of `protos/imgedit/v1/*.proto`. [The API](../api.md) tells how
the parts belong together, [errors](errors.md) why a call fails. *optional*: the field tells unset from its zero value.

"""

INFERENCE_HEAD = """# gRPC reference of the model services

Package `imgedit.inference.v1`, from the comments of `protos/imgedit/inference/v1/*.proto`: what the orchestrator
calls, for callers inside a cluster. Clients call `EditService` of the [public API](grpc.md). *optional*: the field
tells unset from its zero value.

"""

REST_HEAD = """# REST reference

The edge's JSON endpoints (`imgedit up --gateway`: 8080), generated from the same protos as the [gRPC
reference](grpc.md), which describes the messages and enums named here. `/openapi.json` describes the same
for programs, `/docs` shows it in a browser. [OpenAI's image API](openai.md) is on the same port.

- Send `content-type: application/json` with every POST, `:cancel` too, which needs no body; other types get 415.
- An image is base64, or a `data:` URL. An enum is its name, for instance `"PROFILE_FAST"`.
- If tokens are required, send `authorization: Bearer TOKEN`. `x-imgedit-request-id` is returned, and may be sent.
- A failure is a `google.rpc.Status` with the matching HTTP status; its reason is in `details`
  ([errors](errors.md)).
- Unknown keys are rejected with the nearest known one, in nested messages too; unknown names of enums with the choices.
- Query parameters are rejected in the same way, and every one with a POST: its fields are the keys of the body.

"""


def pages(folder: Path) -> dict[Path, str]:
    """The three pages of the reference, by path."""
    found = [path for package in PAGES for path in (PROTOS / package.replace(".", "/")).glob("*.proto")]
    files = compile_protos(sorted(str(path.relative_to(PROTOS)) for path in found))
    public, inference = Book(files, PUBLIC), Book(files, INFERENCE)
    return {
        folder / PAGES[PUBLIC]: public.grpc(GRPC_HEAD),
        folder / PAGES[INFERENCE]: inference.grpc(INFERENCE_HEAD),
        folder / "rest.md": public.rest(),
    }


class Book:
    """Builds the pages of one package from a descriptor set with source info."""

    def __init__(self, files: FileDescriptorSet, package: str) -> None:
        self._package = package
        self._files = [file for file in files.file if file.package == package]
        self._comments: dict[str, str] = {}
        self._messages: dict[str, DescriptorProto] = {}
        for file in self._files:
            self._comments |= dict(comments(file))
            self._messages |= {f".{package}.{message.name}": message for message in file.message_type}

    def comment(self, *names: str) -> str:
        """The proto's comment on a service, method, message, field, enum or value."""
        return self._comments.get(".".join(names), "")

    def grpc(self, head: str) -> str:
        """Every service, then every message and enum by name."""
        services = [service for file in self._files for service in file.service]
        services.sort(key=lambda service: service.name)
        messages = sorted((m for file in self._files for m in file.message_type), key=lambda message: message.name)
        enums = sorted((e for file in self._files for e in file.enum_type), key=lambda enum: enum.name)
        parts = [titled(head), *map(self._service, services), "## Messages\n\n", *map(self._message, messages)]
        return "".join([*parts, *(["## Enums\n\n"] if enums else []), *map(self._enum, enums)])

    def rest(self) -> str:
        """Every method that has an HTTP path."""
        services = [service for file in self._files for service in file.service]
        found = [(service, method, routes(method)) for service in services for method in service.method]
        parts = [self._endpoint(service, method, paths) for service, method, paths in found if paths]
        return "".join([titled(REST_HEAD), *parts])

    def _service(self, service: ServiceDescriptorProto) -> str:
        rows = [
            (
                f"**{method.name}**",
                _streamed(method.client_streaming) + self._link(method.input_type),
                _streamed(method.server_streaming) + self._link(method.output_type),
                self.comment(service.name, method.name),
            )
            for method in service.method
        ]
        head = f"## {service.name}\n\n{self.comment(service.name)}\n\n"
        return head + table(["RPC", "request", "answer", "what it does"], rows)

    def _message(self, message: DescriptorProto) -> str:
        rows = [
            (f"{code(field.name)} = {field.number}", self._type(message, field), self._told(message, field))
            for field in message.field
        ]
        fields = table(["field", "type", "meaning"], rows) if rows else "No fields.\n\n"
        return f"### {message.name}\n\n{self.comment(message.name)}\n\n{fields}"

    def _told(self, message: DescriptorProto, field: FieldDescriptorProto) -> str:
        text = self.comment(message.name, field.name)
        if field.HasField("oneof_index") and not field.proto3_optional:
            return f"{text} One of `{message.oneof_decl[field.oneof_index].name}`."
        return text if field.json_name == field.name else f"{text} In JSON: `{field.json_name}`."

    def _scalar(self, field: FieldDescriptorProto) -> str:
        return SCALARS[field.type] if field.type in SCALARS else self._link(field.type_name)

    def _type(self, message: DescriptorProto, field: FieldDescriptorProto) -> str:
        if entry := _entry(message, field):
            return f"map of {self._scalar(entry.field[0])} to {self._scalar(entry.field[1])}"
        name = self._scalar(field)
        if field.label == _Field.LABEL_REPEATED:
            return f"repeated {name}"
        return f"optional {name}" if field.proto3_optional else name

    def _enum(self, enum: EnumDescriptorProto) -> str:
        rows = [(f"{code(value.name)} = {value.number}", self.comment(enum.name, value.name)) for value in enum.value]
        return f"### {enum.name}\n\n{self.comment(enum.name)}\n\n{table(['value', 'meaning'], rows)}"

    def _endpoint(self, service: ServiceDescriptorProto, method: MethodDescriptorProto, paths: list[Route]) -> str:
        route = paths[0]
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
        head = f"## {method.name}\n\n{' or '.join(f'**`{one.verb.upper()} {one.path}`**' for one in paths)}\n\n"
        fields = table(["key", "in", "type", "meaning"], rows)
        said = "one JSON object per line, each an" if method.server_streaming else "the"
        answer = f"Answer: {said} {self._link(method.output_type, 'rest.md')}.\n\n"
        return f"{head}{self.comment(service.name, method.name)}\n\n{fields}{answer}"

    def _json_type(self, field: FieldDescriptorProto) -> str:
        name = JSON_SCALARS[field.type] if field.type in JSON_SCALARS else self._link(field.type_name, "rest.md")
        return f"list of {name}" if field.label == _Field.LABEL_REPEATED else name

    def _link(self, type_name: str, page: str | None = None) -> str:
        """A link from `page`, the package's own unless given."""
        package, _, name = type_name.removeprefix(".").rpartition(".")
        if package not in PAGES:
            return code(type_name.removeprefix("."))
        target = PAGES[package]
        return f"[{name}]({'' if target == (page or PAGES[self._package]) else target}#{name.lower()})"


def _entry(message: DescriptorProto, field: FieldDescriptorProto) -> DescriptorProto | None:
    """The key and the value of a map; None = the field is none."""
    found = [nested for nested in message.nested_type if field.type_name.endswith(f".{message.name}.{nested.name}")]
    return next((nested for nested in found if nested.options.map_entry), None)


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
