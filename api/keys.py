"""Who may ask, where the service listens beyond this machine: those who hold one of its keys."""

import base64
import hmac
from typing import Final

from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import answer_http_error
from service.keys import digest_of

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""What load balancers ask, who hold no keys."""


class KeyCheck:
    """ASGI middleware: a request needs ``Authorization: Bearer <key>``, or Basic with the key as password."""

    def __init__(self, app: ASGIApp, digests: list[str]) -> None:
        self.app = app
        self.digests = digests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._may_pass(scope):
            # A browser asks its user for the key: the page then works as any other client.
            headers = {"WWW-Authenticate": 'Basic realm="ptyxas: any name, the key as password", charset="UTF-8"'}
            refusal = HTTPException(401, "this service needs an API key", headers)
            await answer_http_error(Request(scope), refusal)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _may_pass(self, scope: Scope) -> bool:
        if scope["method"] == "OPTIONS" or scope["path"] in OPEN_PATHS:
            return True
        given = digest_of(key_of(Headers(scope=scope).get("authorization", "")))
        # All digests are compared, in constant time: how long it takes tells nothing.
        return sum(hmac.compare_digest(given, digest) for digest in self.digests) > 0


def key_of(authorization: str) -> str:
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
