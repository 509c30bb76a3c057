"""Security headers on every answer; hosts, origins, encodings and sizes of bodies that are refused."""

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
    "Cross-Origin-Resource-Policy": "same-origin",
}

MAX_JSON_BYTES: Final = 1 << 20
"""Largest body of a request that is not an upload [bytes]."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class SecurityChecks:
    """ASGI middleware that adds the security headers, and refuses foreign hosts and writes, encoded bodies and oversized JSON.

    Parameters
    ----------
    app : ASGIApp
    hosts : collection of str, optional
        Names in ``Host`` that are answered; every name if None. A page of another site can make its own name resolve to this
        machine (DNS rebinding), and only ``Host`` tells that apart.
    origins : collection of str
        Origins other than this host whose pages may send writes. Browsers name the page's origin in ``Origin``.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None = None, origins: Collection[str] = ()) -> None:
        self.app = app
        self.hosts = hosts
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = None
        if self.hosts is not None and hostname(f"//{Headers(scope=scope).get('host', '')}") not in self.hosts:
            refusal = HTTPException(421, "this service answers to names of this machine only; see `allowed_hosts`")
        elif is_foreign_write(scope, self.origins):
            refusal = HTTPException(403, "the request's Origin is another site than the one it is sent to")
        elif (encoding := encoding_of(scope)) != "identity":
            text = f"a body with Content-Encoding {encoding!r} is not decoded: send the file as it is, without that header"
            refusal = HTTPException(415, text, {"Accept-Encoding": "identity"})
        if refusal is not None:
            response = answer_http_error(Request(scope), refusal)
            await response(scope, receive, send_with_headers)
            return
        await self.app(scope, receive if scope["method"] == "PUT" else limited(receive), send_with_headers)


def hostname(url: str) -> str | None:
    """The host in ``url`` without its port; None if there is none, or the URL is malformed."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def is_foreign_write(scope: Scope, origins: Collection[str] = ()) -> bool:
    """Whether the request is a write from a page of another site; a malformed origin is another site."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if scope["method"] in SAFE_METHODS or origin is None or origin in origins:
        return False
    try:
        return urlsplit(origin).netloc != headers.get("host")
    except ValueError:
        return True


def encoding_of(scope: Scope) -> str:
    """How the body of a request is encoded for its way, as its sender says."""
    if scope["method"] in SAFE_METHODS:
        return "identity"
    return Headers(scope=scope).get("content-encoding", "").strip().lower() or "identity"


def limited(receive: Receive) -> Receive:
    """``receive``, which raises a 413 once the body exceeds ``MAX_JSON_BYTES``."""
    n_bytes = 0

    async def receive_limited() -> Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > MAX_JSON_BYTES:
            raise HTTPException(413, f"the body may have at most {MAX_JSON_BYTES} bytes")
        return message

    return receive_limited
