"""From a validation error to the field at fault and the name that was probably meant."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request

from service.errors import FieldError

Schema = Mapping[str, Any]

PLACES = ("body", "query", "path", "header", "cookie")


def fault_of(request: Request, error: Mapping[str, Any]) -> FieldError:
    """One entry of pydantic's list of errors as a `FieldError`; an unknown name gets the nearest known one."""
    location = tuple(error["loc"])
    field = ".".join(str(part) for part in (location[1:] if location[0] in PLACES else location))
    if error["type"] == "json_invalid":
        return FieldError("", f"the body is not JSON: {error.get('ctx', {}).get('error', error['msg'])}")
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return FieldError(field, unknown_name(str(location[-1]), known_names(request, location)))
    message = error["msg"].removeprefix("Value error, ")
    return FieldError(field or location[0], f"{message}{seen(error)}")


def seen(error: Mapping[str, Any]) -> str:
    """The value that was refused, where it is short enough to help."""
    value = error.get("input")
    if error["type"] == "missing" or value is None or isinstance(value, bytes):
        return ""
    text = repr(value)
    return f", got {text}" if len(text) <= 80 else ""


def unknown_name(name: str, known: Sequence[str]) -> str:
    """Says that ``name`` is unknown, which name is nearest, and what names there are."""
    nearest = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    names = f" Known names: {', '.join(known)}." if known else ""
    return f"unknown name {name!r}{hint or '.'}{names}"


def known_names(request: Request, location: Sequence[str | int]) -> list[str]:
    """Names the OpenAPI document allows beside the last part of ``location``."""
    document = request.app.openapi()
    operation = operation_of(document, request)
    if location[0] == "query":
        return [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
    contents: list[Schema] = [*operation.get("requestBody", {}).get("content", {}).values(), {}]
    node = resolve(document, contents[0].get("schema", {}))
    for part in location[1:-1]:
        if isinstance(part, str):
            node = resolve(document, node.get("properties", {}).get(part, {}))
    return list(node.get("properties", {}))


def operation_of(document: Schema, request: Request) -> Schema:
    """The operation of the OpenAPI document that ``request`` was routed to."""
    name = getattr(request.scope.get("route"), "name", None)
    operations = (op for path in document["paths"].values() for op in path.values())
    return next((op for op in operations if op.get("operationId") == name), {})


def resolve(document: Schema, node: Schema) -> Schema:
    """``node`` with references followed and the first alternative that has properties taken."""
    if "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return resolve(document, target)
    for alternative in (*node.get("anyOf", ()), *node.get("allOf", ())):
        found = resolve(document, alternative)
        if "properties" in found:
            return found
    return node
