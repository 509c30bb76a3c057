"""What every answer carries and every request must respect: security headers, same origin, small bodies."""

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import answer_http_error

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}

MAX_JSON_BYTES: Final = 1 << 20
"""Largest body of a request that is not an upload [bytes]."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """ASGI middleware: adds the security headers, refuses foreign names, writes from other sites and oversized JSON.

    A page of another site can make a browser send simple requests to a service on this machine; browsers name
    the page in ``Origin``, and a write whose origin is not the host it is sent to is refused, unless it is one of
    ``origins``. Such a page can also give its own name this machine's address; it is then the name in ``Host`` that
    gives it away: where ``hosts`` are given, others are refused.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None = None, origins: Collection[str] = ()) -> None:
        self.app = app
        self.hosts = hosts
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = None
        if self.hosts is not None and host_of(scope) not in self.hosts:
            refusal = HTTPException(421, "this service answers to names of this machine only; see `allowed_hosts`")
        elif is_foreign_write(scope, self.origins):
            refusal = HTTPException(403, "the request's Origin is another site than the one it is sent to")
        if refusal is not None:
            response = answer_http_error(Request(scope), refusal)
            await response(scope, receive, send_guarded)
            return
        await self.app(scope, receive if scope["method"] == "PUT" else limited(receive), send_guarded)


def host_of(scope: Scope) -> str | None:
    """The name in ``Host``, without its port; None where there is none that can be read."""
    try:
        return urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname
    except ValueError:
        return None


def is_foreign_write(scope: Scope, origins: Collection[str] = ()) -> bool:
    """Whether a browser says that a page of another site makes this write."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if scope["method"] in SAFE_METHODS or origin is None or origin in origins:
        return False
    return urlsplit(origin).netloc != headers.get("host")


def limited(receive: Receive) -> Receive:
    """``receive``, raising 413 once the body exceeds ``MAX_JSON_BYTES``."""
    n_bytes = 0

    async def receive_limited() -> Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > MAX_JSON_BYTES:
            raise HTTPException(413, f"the body may have at most {MAX_JSON_BYTES} bytes")
        return message

    return receive_limited
