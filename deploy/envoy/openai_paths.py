"""OpenAI's image API in the OpenAPI description.

Paths and schemas come from the service's parameters.
"""

from __future__ import annotations

from typing import Any

from services.openai_api.parameters import FILES, LISTS, OWN, THEIRS, Parameter

Json = dict[str, Any]

_TAG = "OpenAI's image API"
_ERROR = {"$ref": "#/components/schemas/OpenAiError"}


def add(document: Json) -> None:
    """Add them to the description of the rest."""
    document["paths"] |= _paths()
    document["components"]["schemas"] |= _schemas()


def _paths() -> Json:
    return {
        "/v1/images/edits": {
            "post": {
                "operationId": "ImagesEdits",
                "tags": [_TAG],
                "description": "Edits a picture, as OpenAI's API of the same path does. Unsupported parameters are "
                "rejected by name. Disconnecting cancels the edit.",
                "requestBody": {
                    "required": True,
                    "content": {"multipart/form-data": {"schema": {"$ref": "#/components/schemas/ImageEditForm"}}},
                },
                "responses": {
                    "200": {
                        "description": "The results; with `stream` events, the last of which is `image_edit.completed` "
                        "or `error`.",
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/ImagesResponse"}},
                            "text/event-stream": {"schema": {"type": "string"}},
                        },
                    },
                    "default": _refusal(),
                },
            }
        },
        "/v1/images/results/{request_id}/{name}": {
            "get": {
                "operationId": "ImagesResults",
                "tags": [_TAG],
                "description": "A result, for some minutes after its URL was returned. The URL is the only credential.",
                "security": [{}],
                "parameters": [
                    {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                    for name in ("request_id", "name")
                ],
                "responses": {
                    "200": {"description": "The file.", "content": {"image/*": {}}},
                    "default": _refusal(),
                },
            }
        },
        "/v1/models": {
            "get": {
                "operationId": "Models",
                "tags": [_TAG],
                "description": "The values of `model`: experiments, and their features as experiment/feature.",
                "responses": {
                    "200": {
                        "description": "The list.",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ModelList"}}},
                    },
                    "default": _refusal(),
                },
            }
        },
    }


def _refusal() -> Json:
    return {"description": "Why it failed.", "content": {"application/json": {"schema": _ERROR}}}


def _schemas() -> Json:
    own = {name: _property(parameter) for name, (_, parameter) in OWN.items()}
    lists = {name: {"type": "array", "items": _property(parameter)} for name, parameter in LISTS.items()}
    files = {
        name: {"type": "string", "contentMediaType": "image/*", "description": text} for name, text in FILES.items()
    }
    theirs = {name: _property(parameter) for name, parameter in THEIRS.items()}
    text: Json = {"type": "string"}
    result = {
        "b64_json": {**text, "contentEncoding": "base64"},
        "url": text,
        "revised_prompt": {**text, "description": "The prompt that the model saw, if it differs from the request's."},
        "seed": {"type": "integer"},
        "model": {**text, "description": "experiment/feature"},
        "request_id": text,
        "warnings": {"type": "array", "items": text},
    }
    answer = {
        "created": {"type": "integer"},
        "data": {"type": "array", "items": {"type": "object", "properties": result}},
        "background": text,
        "output_format": text,
        "quality": text,
        "size": text,
        "safety_identifier": {"type": ["string", "null"]},
        "usage": {"type": "object", "description": "Zeros: edits are not counted in tokens."},
    }
    error = {
        "message": text,
        "type": text,
        "param": {"type": ["string", "null"], "description": "The parameter at fault."},
        "code": text,
        "message_ko": {**text, "description": "The message in Korean."},
    }
    model = {"id": text, "object": text, "created": {"type": "integer"}, "owned_by": text}
    return {
        "ImageEditForm": {"type": "object", "properties": {**files, **theirs, **own, **lists}},
        "ImagesResponse": {"type": "object", "properties": answer},
        "ModelList": {
            "type": "object",
            "properties": {
                "object": text,
                "data": {"type": "array", "items": {"type": "object", "properties": model}},
            },
        },
        "OpenAiError": {
            "type": "object",
            "properties": {"error": {"type": "object", "properties": error}},
        },
    }


def _property(parameter: Parameter) -> Json:
    schema: Json = {"type": parameter.kind, "description": parameter.help}
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.range:
        schema["minimum"], schema["maximum"] = parameter.range
    return schema
