"""API keys, where the service has them: a key opens one project, and there what its scope allows."""

from functools import partial
from typing import Final

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from api.authorization import OPEN_PATHS, secret_of, unauthorised
from api.problems import answer_http_error
from service.api_keys import ApiKeys, Key
from service.api_keys import Scope as KeyScope

ADMIN_PATHS: Final = frozenset({"/metrics", "/dask"})
"""Paths that show all projects at once."""
READ_METHODS: Final = frozenset({"GET", "HEAD"})


class ApiKeyCheck:
    """ASGI middleware that requires ``Authorization: Bearer <key>``, or Basic with the key as password.

    The state of an accepted request holds the key as ``key`` and, as ``is_key_valid``, a function that tells whether the key
    still opens: an answer that goes on for long asks it again. The secret is neither kept nor logged.
    """

    def __init__(self, app: ASGIApp, keys: ApiKeys) -> None:
        self.app = app
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] != "OPTIONS" and scope["path"] not in OPEN_PATHS:
            key = self.keys.find(secret_of(Headers(scope=scope).get("authorization", "")))
            refusal = refusal_of(key, scope_needed(scope["method"], scope["path"]))
            if refusal is not None:
                await answer_http_error(Request(scope), refusal)(scope, receive, send)
                return
            if key is not None:
                scope.setdefault("state", {}).update(key=key, is_key_valid=partial(self.keys.is_valid, key))
        await self.app(scope, receive, send)


def scope_needed(method: str, path: str) -> KeyScope:
    """Scope that a key needs for a request."""
    if path in ADMIN_PATHS:
        return "admin"
    return "read" if method in READ_METHODS else "write"


def refusal_of(key: Key | None, needed: KeyScope) -> HTTPException | None:
    """Why a key is not enough; None if it is."""
    if key is None:
        return unauthorised("this service needs an API key: none was given, or it is unknown, revoked or expired", "key")
    if not key.may(needed):
        return HTTPException(403, f"this key's scope is {key.scope!r}; {needed!r} is needed")
    return None
