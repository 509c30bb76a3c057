"""From a validation error to the field at fault and the name that was probably meant."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from fastapi import Request

from service.errors import FieldError

Schema = Mapping[str, Any]

MAX_NAME: Final = 100
"""Characters of an unknown name that are compared and quoted."""

PARTS_OF_REQUEST: Final = ("body", "query", "path", "header", "cookie")


ALTERNATIVE: Final = re.compile(r"(constrained-)?(int|float|str)|(literal|function-\w+|tuple|list)\[.*\]")


def fault_of(request: Request, error: Mapping[str, Any]) -> FieldError:
    """One entry of pydantic's list of errors as a `FieldError`; for an unknown name it suggests the nearest known one."""
    location = tuple(part for part in error["loc"] if error["type"] == "extra_forbidden" or not is_alternative(part))
    field = ".".join(str(part) for part in (location[1:] if location[0] in PARTS_OF_REQUEST else location))
    if error["type"] == "json_invalid":
        return FieldError("", f"the body is not JSON: {error.get('ctx', {}).get('error', error['msg'])}")
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return FieldError(field, unknown_name(str(location[-1]), known_names(request, location)))
    is_no_list = error["type"] in ("tuple_type", "list_type")
    message = "Input should be a list, such as [1, 2]" if is_no_list else error["msg"].removeprefix("Value error, ")
    return FieldError(field or location[0], f"{message}{value_of(error)}")


def field_errors(request: Request, errors: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Pydantic's list of errors, one entry a field: where a value may be one of several types, what each of them wants."""
    messages: dict[str, list[str]] = {}
    for error in errors:
        fault = fault_of(request, error)
        messages.setdefault(fault.field, []).append(fault.message)
    return [FieldError(field, "; or: ".join(dict.fromkeys(found))) for field, found in messages.items()]


def is_alternative(part: str | int) -> bool:
    """Whether a part of an error's location is no name but the type that was tried, of several that a value may have."""
    return isinstance(part, str) and ALTERNATIVE.fullmatch(part) is not None


def value_of(error: Mapping[str, Any]) -> str:
    """The refused value, if it is short enough to help; of several fields that do not fit together the message names them."""
    value = error.get("input")
    is_said = error["type"] == "value_error" and isinstance(value, Mapping)
    if error["type"] == "missing" or value is None or is_said or isinstance(value, bytes):
        return ""
    text = repr(value)
    return f", got {text}" if len(text) <= 80 else ""


def unknown_name(name: str, known: Sequence[str]) -> str:
    """Message for the unknown ``name``: the nearest known name, and all known names."""
    nearest = difflib.get_close_matches(name[:MAX_NAME].lower(), known, n=1, cutoff=0.5)
    suggestion = f"; did you mean {nearest[0]!r}?" if nearest else "."
    names = f" Known names: {', '.join(known)}." if known else ""
    return f"unknown name {name[:MAX_NAME]!r}{suggestion}{names}"


def known_names(request: Request, location: Sequence[str | int]) -> list[str]:
    """Names that the OpenAPI document allows in place of the last part of ``location``."""
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
    """``node`` with its references followed; of alternatives, the first that has properties."""
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
