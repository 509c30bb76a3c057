"""Errors as RFC 9457 problems: one table gives the status and the code of each class of errors."""

import http
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.validation_errors import field_errors
from service.errors import (
    CatalogueBusyError,
    CatalogueFullError,
    CatalogueUnavailableError,
    ConflictError,
    DataFolderError,
    DigestMismatchError,
    FieldError,
    ForbiddenPathError,
    IdempotencyError,
    InvalidInputError,
    NotFoundError,
    ObjectStoreError,
    QuotaError,
    ResultsLostError,
    ResultsNotReadyError,
    SchedulerUnavailableError,
    StorageFullError,
    TooCostlyError,
    TooLargeError,
    TooManyRunsError,
    is_disk_full,
    is_refused,
)
from tasks.errors import TaskError

LOGGER = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
MAX_TEXT: Final = 2000
"""Characters of a message in an answer."""
RETRY_AFTER_S: Final = 5
"""When a client that met a busy service may ask again [s]."""
MAX_ERRORS: Final = 100
"""Fields at fault that one answer names."""


class GoneError(NotFoundError):
    """A chunk of results that do not exist (any more); a Zarr reader would take 404 for fill values."""


class BusyError(RuntimeError):
    """More requests of a costly kind than the service answers at the same time."""


class RangeError(ValueError):
    """A byte range that begins beyond the end of the file."""

    def __init__(self, n_bytes: int) -> None:
        super().__init__(f"the range starts beyond the {n_bytes} bytes there are")
        self.n_bytes = n_bytes


@dataclass(frozen=True)
class Problem:
    """Status, code and title of one kind of error."""

    status: int
    code: str
    title: str


TABLE: Final[dict[type[Exception], Problem]] = {
    NotFoundError: Problem(404, "not-found", "No such thing"),
    GoneError: Problem(410, "gone", "No longer there"),
    ConflictError: Problem(409, "conflict", "Not possible in the present state"),
    ResultsNotReadyError: Problem(409, "results-not-ready", "The results are not published yet"),
    ResultsLostError: Problem(409, "results-damaged", "The published results are no longer what was written"),
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
    CatalogueUnavailableError: Problem(503, "catalogue-unavailable", "The catalogue cannot be used"),
    ObjectStoreError: Problem(503, "storage-unavailable", "The storage does not answer, or refuses"),
    DataFolderError: Problem(503, "storage-unavailable", "The storage does not answer, or refuses"),
    CatalogueBusyError: Problem(503, "catalogue-busy", "The catalogue is locked"),
    CatalogueFullError: Problem(507, "storage-full", "Too little free disk"),
    BusyError: Problem(503, "busy", "Too many such requests at the same time"),
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
    500: Problem(500, "internal-error", "The service failed"),
    503: Problem(503, "not-ready", "Not ready"),
}


def problem_of(error: Exception) -> Problem:
    """The table's entry for the class of ``error``, or for the nearest class it inherits."""
    for cls in type(error).__mro__:
        if cls in TABLE:
            return TABLE[cls]
    return BY_STATUS[500]


def answer(
    problem: Problem, detail: str, faults: Sequence[FieldError] = (), headers: dict[str, str] | None = None
) -> JSONResponse:
    """``problem`` as an RFC 9457 answer; ``errors`` names the fields at fault."""
    errors = [{"field": shortened(fault.field), "message": shortened(fault.message)} for fault in faults[:MAX_ERRORS]]
    body: dict[str, Any] = {
        "type": f"urn:ptyxas:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": shortened(detail),
        "code": problem.code,
        "errors": errors,
    }
    all_headers = {"Cache-Control": "no-store"} | (headers or {})
    return JSONResponse(body, problem.status, all_headers, MEDIA_TYPE)


def shortened(text: str) -> str:
    """``text`` as UTF-8 can hold it, cut after ``MAX_TEXT`` characters: errors quote what was sent, which may be anything."""
    encodable = text.encode("utf-8", "backslashreplace").decode()
    n_more = len(encodable) - MAX_TEXT
    return encodable if n_more <= 0 else f"{encodable[:MAX_TEXT]} ... ({n_more} more characters)"


def answer_known_error(request: Request, error: Exception) -> JSONResponse:
    """An error of the table."""
    headers = {}
    if isinstance(error, RangeError):
        headers["Content-Range"] = f"bytes */{error.n_bytes}"
    if isinstance(error, BusyError | CatalogueBusyError):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    detail = str(error) or problem_of(error).title
    return answer(problem_of(error), detail, getattr(error, "faults", ()), headers)


def answer_invalid_request(request: Request, error: Exception) -> JSONResponse:
    """A body, path, query or header that does not fit its schema; names every field at fault."""
    assert isinstance(error, RequestValidationError)
    faults = field_errors(request, error.errors()[:MAX_ERRORS])
    shown = "; ".join(f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults)
    return answer(BY_STATUS[422], shown, faults)


def answer_http_error(request: Request, error: Exception) -> JSONResponse:
    """An error of the web framework, such as an unknown route, a wrong method or an unreadable body."""
    assert isinstance(error, HTTPException)
    phrase = http.HTTPStatus(error.status_code).phrase
    problem = BY_STATUS.get(error.status_code, Problem(error.status_code, phrase.lower().replace(" ", "-"), phrase))
    detail = error.detail
    if detail == phrase:
        detail = f"{request.method} {request.url.path}: {phrase}"
    return answer(problem, detail, headers=dict(error.headers or {}))


def answer_internal_error(request: Request, error: Exception) -> JSONResponse:
    """An error that is not in the table: the log gets its traceback, and the answer a number to find it by.

    What the file system says, that it is full or takes nothing, is answered as that: it is the disk that needs help.
    """
    if is_disk_full(error):
        LOGGER.warning("%s %s: %s", request.method, request.url.path, error)
        return answer(TABLE[StorageFullError], "the disk is full: make room (see `ptyxas gc`), then ask again")
    incident = secrets.token_hex(4)
    LOGGER.error("incident %s: %s %s", incident, request.method, request.url.path, exc_info=error)
    if is_refused(error):
        reason = "it is read-only, another user's, or its disk is broken"
        return answer(
            TABLE[DataFolderError], f"the data folder refuses: {reason}; the log names the file under incident {incident}"
        )
    return answer(BY_STATUS[500], f"the service failed; its log has the reason under incident {incident}")


def add_error_handlers(app: FastAPI) -> None:
    """Make ``app`` answer every known error as a problem."""
    for cls in TABLE:
        app.add_exception_handler(cls, answer_known_error)
    app.add_exception_handler(RequestValidationError, answer_invalid_request)
    app.add_exception_handler(HTTPException, answer_http_error)
