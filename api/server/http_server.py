"""The HTTP server that runs the application."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.server.connections import LimitedConnection
from service.errors import ServiceError

BACKLOG: Final = 128
"""Connections that wait to be accepted. Where the process may open no more files, asyncio logs an error for each of them."""

LOOK_S: Final = 0.25
"""Longest time until the server notices that it is to stop [s]."""

log = logging.getLogger(__name__)


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
        limits: dict[str, Any] = {"http": LimitedConnection, "backlog": BACKLOG, "ws": "none", "timeout_graceful_shutdown": 5}
        super().__init__(uvicorn.Config(log_start_error(app), **limits | options))
        self._closing: asyncio.Event = app.state.closing
        self._on_start = on_start

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop; returns at once, with ``started`` false, if the service cannot start."""
        try:
            super().run(sockets)
        except SystemExit:  # newer versions of uvicorn exit where older ones return; the reason has been logged
            self.should_exit = True

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

    async def main_loop(self) -> None:
        """Tell the time to the answers, and look whether to stop, every `LOOK_S`; uvicorn does it ten times a second."""
        while not await self.on_tick(0):
            await asyncio.sleep(LOOK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, end the event streams, and wait for the answers under way."""
        self._closing.set()
        await super().shutdown(sockets)


def log_start_error(app: ASGIApp) -> ASGIApp:
    """``app``; if it cannot start, the reason is logged as a sentence, and as a traceback only if it was not expected."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return

        async def send_without_traceback(message: Message) -> None:
            await send({**message, "message": ""} if message["type"] == "lifespan.startup.failed" else message)

        try:
            await app(scope, receive, send_without_traceback)
        except (ServiceError, OSError) as error:
            log.error("the service cannot start: %s", error)
            raise
        except Exception as error:
            log.error("the service cannot start", exc_info=error)
            raise

    return run
