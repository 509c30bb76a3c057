"""Errors as answers: one table from error class to status and code, and RFC 9457 problems made from it."""

import http
import logging
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.validation_errors import fault_of
from service.errors import (
    ConflictError,
    DigestMismatchError,
    FieldError,
    ForbiddenPathError,
    IdempotencyError,
    InvalidInputError,
    NotFoundError,
    QuotaError,
    ResultsNotReadyError,
    SchedulerUnavailableError,
    StorageFullError,
    TooCostlyError,
    TooLargeError,
    TooManyRunsError,
)
from tasks.errors import TaskError

LOGGER = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"


class GoneError(NotFoundError):
    """Part of something that is not there any more, asked for by a reader who takes 404 for zeros."""


class RangeError(ValueError):
    """A byte range beyond the end of the file."""

    def __init__(self, n_bytes: int) -> None:
        super().__init__(f"the range starts beyond the {n_bytes} bytes there are")
        self.n_bytes = n_bytes


@dataclass(frozen=True)
class Problem:
    """What a class of errors looks like from outside."""

    status: int
    code: str
    title: str


TABLE: Final[dict[type[Exception], Problem]] = {
    NotFoundError: Problem(404, "not-found", "No such thing"),
    GoneError: Problem(410, "gone", "No longer there"),
    ConflictError: Problem(409, "conflict", "Not possible in the present state"),
    ResultsNotReadyError: Problem(409, "results-not-ready", "The results are not published yet"),
    InvalidInputError: Problem(422, "invalid-input", "The input cannot be used"),
    DigestMismatchError: Problem(422, "digest-mismatch", "The bytes are not those announced"),
    IdempotencyError: Problem(422, "idempotency-key-reused", "The idempotency key came before with another body"),
    TaskError: Problem(422, "invalid-input", "The input cannot be used"),
    TooLargeError: Problem(413, "too-large", "More bytes than accepted"),
    TooManyRunsError: Problem(429, "too-many-runs", "More runs at the same time than allowed"),
    TooCostlyError: Problem(422, "run-too-costly", "A larger run than allowed"),
    QuotaError: Problem(507, "quota-exceeded", "More bytes than the project may store"),
    StorageFullError: Problem(507, "storage-full", "Too little free disk"),
    ForbiddenPathError: Problem(403, "forbidden-path", "Outside the folders that may be read"),
    SchedulerUnavailableError: Problem(503, "scheduler-unavailable", "The Dask scheduler cannot be reached"),
    RangeError: Problem(416, "range-not-satisfiable", "The range lies beyond the end"),
    ClientDisconnect: Problem(400, "incomplete-body", "The body ended early"),
}

BY_STATUS: Final[dict[int, Problem]] = {
    400: Problem(400, "bad-request", "The request cannot be read"),
    401: Problem(401, "unauthorised", "An API key is needed"),
    403: Problem(403, "forbidden", "Not allowed"),
    404: Problem(404, "not-found", "No such thing"),
    405: Problem(405, "method-not-allowed", "The method has no meaning here"),
    413: Problem(413, "too-large", "More bytes than accepted"),
    415: Problem(415, "unsupported-media-type", "The body's type is not understood"),
    422: Problem(422, "invalid-input", "The input cannot be used"),
    421: Problem(421, "misdirected-request", "Another name than this machine's"),
    500: Problem(500, "internal-error", "A fault of the service"),
    503: Problem(503, "not-ready", "Not ready"),
}


def problem_of(error: Exception) -> Problem:
    """The table's entry for the nearest class of ``error``."""
    for cls in type(error).__mro__:
        if cls in TABLE:
            return TABLE[cls]
    return BY_STATUS[500]


def answer(
    problem: Problem, detail: str, faults: Sequence[FieldError] = (), headers: dict[str, str] | None = None
) -> JSONResponse:
    """``problem`` as an RFC 9457 answer; ``errors`` names the fields at fault."""
    body: dict[str, Any] = {
        "type": f"urn:ptyxas:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "code": problem.code,
        "errors": [asdict(fault) for fault in faults],
    }
    all_headers = {"Cache-Control": "no-store"} | (headers or {})
    return JSONResponse(body, problem.status, all_headers, MEDIA_TYPE)


def answer_known_error(request: Request, error: Exception) -> JSONResponse:
    """An error of the table."""
    headers = {"Content-Range": f"bytes */{error.n_bytes}"} if isinstance(error, RangeError) else None
    detail = str(error) or problem_of(error).title
    return answer(problem_of(error), detail, getattr(error, "faults", ()), headers)


def answer_invalid_request(request: Request, error: Exception) -> JSONResponse:
    """A body, path, query or header that does not fit its schema: every fault, by field."""
    assert isinstance(error, RequestValidationError)
    faults = [fault_of(request, item) for item in error.errors()]
    shown = "; ".join(f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults)
    return answer(BY_STATUS[422], shown, faults)


def answer_http_error(request: Request, error: Exception) -> JSONResponse:
    """An error of the web framework: no such route, wrong method, unreadable body."""
    assert isinstance(error, HTTPException)
    phrase = http.HTTPStatus(error.status_code).phrase
    problem = BY_STATUS.get(error.status_code, Problem(error.status_code, phrase.lower().replace(" ", "-"), phrase))
    detail = error.detail
    if detail == phrase:
        detail = f"{request.method} {request.url.path}: {phrase}"
    return answer(problem, detail, headers=dict(error.headers or {}))


def answer_fault(request: Request, error: Exception) -> JSONResponse:
    """Anything else is our fault: the log has the story, the answer the number to find it by."""
    incident = secrets.token_hex(4)
    LOGGER.error("incident %s: %s %s", incident, request.method, request.url.path, exc_info=error)
    return answer(BY_STATUS[500], f"the service failed; its log has the story under incident {incident}")


def register(app: FastAPI) -> None:
    """Make ``app`` answer every error as a problem."""
    for cls in TABLE:
        app.add_exception_handler(cls, answer_known_error)
    app.add_exception_handler(RequestValidationError, answer_invalid_request)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(Exception, answer_fault)
