"""API keys, where the service has them: a key opens one project, and there what its scope allows."""

from functools import partial
from typing import Final
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access.credentials import COOKIE, OPEN_PATHS, SIGN_IN, SIGN_IN_PATHS, secret_of, unauthorised
from api.problems import answer_http_error
from service.api_keys import ApiKeys, Key
from service.api_keys import Scope as KeyScope

ADMIN_PATHS: Final = frozenset({"/metrics", "/dask"})
"""Paths that show all projects at once."""
READ_METHODS: Final = frozenset({"GET", "HEAD"})


class ApiKeyCheck:
    """ASGI middleware that requires ``Authorization: Bearer <key>``, Basic with the key as password, or the cookie of a sign-in.

    A browser without a key is sent to the form of the sign-in. A write by cookie needs an ``Origin``, which browsers send and
    which has been compared with this host, so that no other site's page can write in its visitor's name.
    The state of an accepted request holds the key as ``key`` and, as ``is_key_valid``, a function that tells whether the key
    still opens: an answer that goes on for long asks it again. The secret is neither kept nor logged.
    """

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self.app = app
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] != "OPTIONS" and scope["path"] not in OPEN_PATHS | SIGN_IN_PATHS:
            request = Request(scope)
            given = request.headers.get("authorization")
            cookie = request.cookies.get(COOKIE, "") if given is None else ""
            key = self.keys.find(secret_of(given) if given is not None else cookie)
            refusal = refusal_of(key, scope_needed(scope["method"], scope["path"]))
            if refusal is None and cookie and is_write_of_no_page(request):
                refusal = HTTPException(
                    403, "a request by cookie that changes anything must say from which page it comes (Origin)"
                )
            if refusal is not None:
                is_page = given is None and scope["method"] == "GET" and "text/html" in request.headers.get("accept", "")
                answer = to_sign_in(request) if key is None and is_page else answer_http_error(request, refusal)
                await answer(scope, receive, send)
                return
            if key is not None:
                scope.setdefault("state", {}).update(key=key, is_key_valid=partial(self.keys.is_valid, key))
        await self.app(scope, receive, send)


def scope_needed(method: str, path: str) -> KeyScope:
    """Scope that a key needs for a request."""
    if path in ADMIN_PATHS:
        return "admin"
    return "read" if method in READ_METHODS else "write"


def is_write_of_no_page(request: Request) -> bool:
    """Whether a request that may change something does not name the page that it comes from."""
    return request.method not in READ_METHODS and "origin" not in request.headers


def to_sign_in(request: Request) -> Response:
    """Lead a browser to the form, which leads back to where it wanted to go."""
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{SIGN_IN}?{urlencode({'next': path})}", 303)


def refusal_of(key: Key | None, needed: KeyScope) -> HTTPException | None:
    """Why a key is not enough; None if it is."""
    if key is None:
        return unauthorised("this service needs an API key: none was given, or it is unknown, revoked or expired", "key")
    if not key.may(needed):
        return HTTPException(403, f"this key's scope is {key.scope!r}; {needed!r} is needed")
    return None
