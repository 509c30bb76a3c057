"""Who may ask what, where the service has keys: a key opens one project, and as much of it as its scope allows."""

import base64
from typing import Final

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import answer_http_error
from service.api_keys import ApiKeys, Key
from service.api_keys import Scope as KeyScope

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""What load balancers ask, who hold no keys."""
ADMIN_PATHS: Final = frozenset({"/metrics", "/dask"})
"""What tells of every project at once."""
READING: Final = frozenset({"GET", "HEAD"})


class KeyCheck:
    """ASGI middleware: a request needs ``Authorization: Bearer <key>``, or Basic with the key as password.

    The key found is left in the request's state, as ``key``; nothing of the secret is kept or logged.
    """

    def __init__(self, app: ASGIApp, ring: ApiKeys) -> None:
        self.app = app
        self.ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] != "OPTIONS" and scope["path"] not in OPEN_PATHS:
            key = self.ring.find(secret_of(Headers(scope=scope).get("authorization", "")))
            refusal = refusal_of(key, scope_needed(scope["method"], scope["path"]))
            if refusal is not None:
                await answer_http_error(Request(scope), refusal)(scope, receive, send)
                return
            scope.setdefault("state", {})["key"] = key
        await self.app(scope, receive, send)


def scope_needed(method: str, path: str) -> KeyScope:
    """What a key must be allowed for a request."""
    if path in ADMIN_PATHS:
        return "admin"
    return "read" if method in READING else "write"


def refusal_of(key: Key | None, needed: KeyScope) -> HTTPException | None:
    """Why a key does not open; None where it does."""
    if key is None:
        # A browser asks its user for the key: the page then works as any other client.
        headers = {"WWW-Authenticate": 'Basic realm="ptyxas: any name, the key as password", charset="UTF-8"'}
        return HTTPException(401, "this service needs an API key: none was given, or it is unknown, revoked or over", headers)
    if not key.may(needed):
        return HTTPException(403, f"this key's scope is {key.scope!r}; {needed!r} is needed")
    return None


def secret_of(authorization: str) -> str:
    """The key in an ``Authorization`` header, empty where there is none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""
