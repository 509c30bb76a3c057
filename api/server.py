"""The HTTP server that runs the application."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI


class HttpServer(uvicorn.Server):
    """A server that ends open event streams before it waits for the answers under way.

    Parameters
    ----------
    app : FastAPI
        Its ``state.closing`` is an `asyncio.Event` that event streams watch.
    on_start : callable
        Called with the server's address once requests are answered.
    **options
        Options of `uvicorn.Config`.
    """

    def __init__(self, app: FastAPI, on_start: Callable[[str], None] = lambda url: None, **options: Any) -> None:
        super().__init__(uvicorn.Config(app, ws="none", timeout_graceful_shutdown=5, **options))
        self._closing: asyncio.Event = app.state.closing
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then call ``on_start``."""
        await super().startup(sockets)
        if self.started:
            self._on_start(self.url)

    @property
    def url(self) -> str:
        """Address at which the running server answers."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        scheme = "https" if self.config.is_ssl else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, end the event streams, and wait for the answers under way."""
        self._closing.set()
        await super().shutdown(sockets)
