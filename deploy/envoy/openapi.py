"""Generate the OpenAPI 3.1 description from compiled protos and their comments.

Uses google.api.http annotations and proto3's JSON mapping.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from deploy.envoy.http_rules import Route, routes

Json = dict[str, Any]

_Field = FieldDescriptorProto

_SCALARS: dict[int, Json] = {
    _Field.TYPE_STRING: {"type": "string"},
    _Field.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    _Field.TYPE_BOOL: {"type": "boolean"},
    _Field.TYPE_INT32: {"type": "integer", "format": "int32"},
    _Field.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    _Field.TYPE_DOUBLE: {"type": "number", "format": "double"},
}

_WELL_KNOWN: dict[str, Json] = {
    ".google.protobuf.Value": {"description": "Any JSON value."},
    ".google.protobuf.Any": {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
        "additionalProperties": True,
    },
}


class OpenApi:
    """Builds one description from a descriptor set that was compiled with source info.

    version: of the implementation, for the title block.
    """

    def __init__(self, files: FileDescriptorSet, *, version: str) -> None:
        self._version = version
        self._files = files.file
        self._comments: dict[str, str] = {}
        self._messages: dict[str, DescriptorProto] = {}
        self._enums: dict[str, EnumDescriptorProto] = {}
        for file in files.file:
            self._index(file)

    def describe(self, service: str) -> Json:
        """The document for one service: its HTTP paths and their messages."""
        package, _, name = service.rpartition(".")
        services = [item for file in self._files if file.package == package for item in file.service]
        found = next(item for item in services if item.name == name)
        self._schemas: dict[str, Json] = {}
        paths: Json = {}
        for method in found.method:
            for number, route in enumerate(routes(method), 1):
                self._add_path(paths, f".{service}.{method.name}", method, route, number)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": f"imgedit {name}",
                "version": self._version,
                "description": self._comments[f".{service}"],
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "security": [{}, {"token": []}],
            "paths": paths,
            "components": {
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
                "schemas": dict(sorted(self._schemas.items())),
            },
        }

    def _index(self, file: FileDescriptorProto) -> None:
        """Index messages, enums and comments of a file by full name with a leading dot."""
        base = f".{file.package}"
        for location in file.source_code_info.location:
            if location.leading_comments and (name := _named_by(file, list(location.path))):
                self._comments[f"{base}.{name}"] = " ".join(location.leading_comments.split())
        for message in file.message_type:
            self._messages[f"{base}.{message.name}"] = message
        for enum in file.enum_type:
            self._enums[f"{base}.{enum.name}"] = enum

    def _add_path(self, paths: Json, name: str, method: MethodDescriptorProto, route: Route, number: int) -> None:
        """Describe one route.

        number: the route's position among the method's, from 1; an operation's id must be unique.
        """
        in_path = re.findall(r"\{(\w+)\}", route.path)
        operation: Json = {
            "operationId": method.name + (str(number) if number > 1 else ""),
            "description": self._comments[name],
            "parameters": [self._parameter(method.input_type, field, "path") for field in in_path],
            "responses": {
                "200": self._answer(method),
                "default": {
                    "description": "Why it failed: google.rpc.Status. `details` always holds an ErrorInfo with the "
                    "reason, and a LocalizedMessage in Korean.",
                    "content": {"application/json": {"schema": self._reference(".google.rpc.Status")}},
                },
            },
        }
        if route.has_body:
            schema = self._reference(method.input_type)
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        else:
            names = [field.name for field in self._messages[method.input_type].field if field.name not in in_path]
            operation["parameters"] += [self._parameter(method.input_type, field, "query") for field in names]
        paths.setdefault(route.path, {})[route.verb] = operation

    def _answer(self, method: MethodDescriptorProto) -> Json:
        said = "One JSON object per line; the last one is a result or an error." if method.server_streaming else "Done."
        schema = self._reference(method.output_type)
        return {"description": said, "content": {"application/json": {"schema": schema}}}

    def _parameter(self, message: str, name: str, where: str) -> Json:
        [field] = [field for field in self._messages[message].field if field.name == name]
        return {
            "name": field.json_name,
            "in": where,
            "required": where == "path",
            "description": self._comments.get(f"{message}.{name}", ""),
            "schema": self._type(field),
        }

    def _reference(self, name: str) -> Json:
        """A reference to the schema of a message or an enum, built on first use."""
        if name in _WELL_KNOWN:
            return _WELL_KNOWN[name]
        short = name.rsplit(".", 1)[-1]
        if short not in self._schemas:
            self._schemas[short] = {}  # a message may contain itself
            self._schemas[short] = self._enum(name) if name in self._enums else self._message(name)
        return {"$ref": f"#/components/schemas/{short}"}

    def _message(self, name: str) -> Json:
        message = self._messages[name]
        properties = {field.json_name: self._property(name, field) for field in message.field}
        schema: Json = {"type": "object", "properties": properties}
        if name in self._comments:
            schema["description"] = self._comments[name]
        return schema

    def _property(self, message: str, field: FieldDescriptorProto) -> Json:
        if values := self._map_values(message, field):
            schema = {"type": "object", "additionalProperties": self._type(values)}
        elif field.label == _Field.LABEL_REPEATED:
            schema = {"type": "array", "items": self._type(field)}
        else:
            schema = self._type(field)
        comment = self._comments.get(f"{message}.{field.name}")
        return {**schema, "description": comment} if comment else schema

    def _map_values(self, message: str, field: FieldDescriptorProto) -> FieldDescriptorProto | None:
        """The values of a map; None = the field is none."""
        for nested in self._messages[message].nested_type:
            if nested.options.map_entry and field.type_name == f"{message}.{nested.name}":
                return nested.field[1]
        return None

    def _type(self, field: FieldDescriptorProto) -> Json:
        if field.type in (_Field.TYPE_MESSAGE, _Field.TYPE_ENUM):
            return self._reference(field.type_name)
        return dict(_SCALARS[field.type])

    def _enum(self, name: str) -> Json:
        values = [value.name for value in self._enums[name].value]
        lines = [f"- {value}: {self._comments.get(f'{name}.{value}', '')}" for value in values]
        return {"type": "string", "enum": values, "description": "\n".join([self._comments.get(name, ""), "", *lines])}


def _named_by(file: FileDescriptorProto, path: list[int]) -> str | None:
    """The name, within the package, behind a source location's path; None = no name."""
    node: Any = file
    names = []
    for number, index in zip(path[::2], path[1::2], strict=False):
        items = getattr(node, node.DESCRIPTOR.fields_by_number[number].name)
        if len(path) % 2 or not hasattr(items, "__getitem__"):
            return None
        node = items[index]
        names.append(node.name)
    return ".".join(names) or None
