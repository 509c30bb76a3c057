"""Pages of other sites: those of the sites allowed may use the API, with a key of their visitor where one is needed."""

from collections.abc import Collection
from typing import Final

from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, Content-Digest, Idempotency-Key, If-None-Match, If-Range, Last-Event-ID, Range"
    ),
    "Access-Control-Max-Age": "3600",
}
EXPOSED: Final = "Accept-Ranges, Content-Length, Content-Range, ETag, Last-Modified, Location"


class Cors:
    """ASGI middleware: answers preflights of ``origins`` below ``prefix``, and lets their pages read the answers.

    Results, whose address cannot be guessed, say for themselves that pages of any site may read them.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str], prefix: str) -> None:
        self.app = app
        self.origins = frozenset(origins)
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin")
        if origin not in self.origins or not scope["path"].startswith(self.prefix):
            await self.app(scope, receive, send)
            return

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                sent["Access-Control-Allow-Origin"] = origin
                sent["Access-Control-Expose-Headers"] = EXPOSED
                sent["Cross-Origin-Resource-Policy"] = "cross-origin"
                sent.add_vary_header("Origin")
            await send(message)

        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await Response(status_code=204, headers=PREFLIGHT)(scope, receive, send_readable)
            return
        await self.app(scope, receive, send_readable)
