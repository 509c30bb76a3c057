"""Cross-origin requests of the allowed sites' pages."""

from collections.abc import Sequence
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS: Final = (
    "Authorization", "Content-Type", "Content-Digest", "Idempotency-Key", "If-None-Match", "If-Range", "Last-Event-ID", "Range",
)  # fmt: skip
ANSWER_HEADERS: Final = ("Accept-Ranges", "Content-Length", "Content-Range", "ETag", "Last-Modified", "Location")
MAX_AGE_S: Final = 3600


class ApiCors(CORSMiddleware):
    """Starlette's CORS middleware for the paths below ``prefix`` only; other paths are for pages of their own origin.

    Parameters
    ----------
    app : ASGIApp
    origins : sequence of str
        Origins whose pages may use the API; ``*`` lets every page read it.
    prefix : str
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str], prefix: str) -> None:
        super().__init__(app, origins, METHODS, REQUEST_HEADERS, expose_headers=ANSWER_HEADERS, max_age=MAX_AGE_S)
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(f"{self.prefix}/"):
            await self.app(scope, receive, send)
            return
        await super().__call__(scope, receive, send)
