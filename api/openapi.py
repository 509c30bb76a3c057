"""The OpenAPI document: what routes say in it of their answers, and what is changed in the document that FastAPI makes."""

from typing import Any, Final, TypeAlias

from fastapi import FastAPI
from fastapi.security import HTTPBearer

from api.problems import MEDIA_TYPE
from api.schemas.answers import ProblemAnswer

Answers: TypeAlias = dict[int | str, dict[str, Any]]
"""What the document says of each answer of a route, by its status."""

BEARER: Final = HTTPBearer(
    scheme_name="ApiKey", auto_error=False, description="An API key, where the service has keys; as Basic password, too."
)
"""The scheme that the OpenAPI document names; keys are checked by the middleware, before a route is looked up."""

REASONS: Final = {
    400: "The request cannot be read.",
    401: "A key is needed, where the service has keys.",
    403: "Not allowed.",
    404: "No such thing.",
    409: "Not possible in the present state.",
    410: "No longer there.",
    413: "More bytes than accepted.",
    416: "The range lies beyond the end.",
    421: "Sent to another name than this machine's, where the service has no keys.",
    422: "The input cannot be used; `errors` names every field at fault.",
    429: "More runs than the project may have at the same time.",
    500: "The service failed; its log has the reason.",
    503: "Not ready.",
    507: "Too little free disk.",
}


def problems(*statuses: int) -> Answers:
    """OpenAPI entries of the problems a route may answer with."""
    schema = {"schema": {"$ref": f"#/components/schemas/{ProblemAnswer.__name__}"}}
    return {status: {"description": REASONS[status], "content": {MEDIA_TYPE: schema}} for status in statuses}


def file_of(media_type: str) -> dict[str, Any]:
    """What the document says of a body that is a file of a media type."""
    return {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}


def drawn_as(media_type: str) -> Answers:
    """OpenAPI entries of a route that answers with an image of a media type."""
    return {200: file_of(media_type), 304: {"description": "The client has the image already."}}


PNG: Final = drawn_as("image/png")
PDF: Final = drawn_as("application/pdf")
SVG: Final = drawn_as("image/svg+xml")
FILE: Final[Answers] = {200: file_of("application/octet-stream")}
"""OpenAPI entry of a route that answers with a file."""


def upload_of(description: str) -> dict[str, Any]:
    """What the document says of a route whose request's body is a file."""
    return {"requestBody": {"required": True, "description": description, **file_of("application/octet-stream")}}


def document_problems(app: FastAPI, needs_key: bool) -> None:
    """Describe problems in the OpenAPI document of ``app`` in place of FastAPI's own errors; keys are optional if not needed."""
    make_document = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make_document()
            for method, operation in (item for path in document["paths"].values() for item in path.items()):
                document_operation(method, operation)
                if "security" in operation and not needs_key:
                    operation["security"].append({})
            schemas = document["components"]["schemas"]
            problem = ProblemAnswer.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs", {}))
            schemas[ProblemAnswer.__name__] = problem
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            enumerate_words(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def enumerate_words(node: Any) -> None:
    """Write a word that may stand in place of a number, such as ``auto``, as an enumeration of one, in all of the document.

    Generators of clients take a constant beside another type for the only value allowed.
    """
    if isinstance(node, dict):
        for choice in node.get("anyOf", ()):
            if "const" in choice:
                choice["enum"] = [choice.pop("const")]
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        enumerate_words(child)


def document_operation(method: str, operation: dict[str, Any]) -> None:
    """Add to one operation of the document the answers that middleware may give."""
    statuses = [401, 403, 421, 500] + ([400, 413] if "requestBody" in operation else [])
    answers = operation["responses"]
    # The document's keys are strings: numbers beside them would become the same key twice in JSON.
    answers.update({str(status): answer for status, answer in problems(*statuses).items()})
    if method == "get" and "application/json" in answers.get("200", {}).get("content", {}):
        answers["304"] = {"description": "The client has the answer already."}
    if "application/json" in answers.get("422", {}).get("content", {}):
        answers["422"] = problems(422)[422]
