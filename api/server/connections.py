"""Connections with deadlines and a limit to their number."""

import asyncio
import resource
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class LimitedConnection(H11Protocol):
    """A connection that is closed if its request does not come, or if there are too many connections.

    A client may open connections and never send a whole request on them. Each then holds a file descriptor, and once these
    are used up nobody can connect. So the head of a request must arrive within ``head_timeout_s``, and the pieces of its body
    within ``body_timeout_s`` of each other; beyond the limit, the connection that has waited longest for a request is closed.
    """

    head_timeout_s: ClassVar[float] = 15.0
    """From the opening of the connection, or the first byte of a further request, to the end of the request's head."""
    body_timeout_s: ClassVar[float] = 60.0
    """Between two pieces of a request's body, while the service is ready to read them."""
    most_connections: ClassVar[int] = 4000
    """Upper bound of the number of connections; half the number of files the process may open, if that is less."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._waiting_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit the connection, or close it or another one if there are too many."""
        super().connection_made(transport)
        self._wait_for_head()
        n_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if len(self.connections) > min(self.most_connections, n_files // 2):
            others = [other for other in self.connections if isinstance(other, LimitedConnection) and other is not self]
            waiting = [other for other in others if other._waiting_since is not None]
            (min(waiting, key=lambda other: other._waiting_since or 0.0) if waiting else self)._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a piece of a request, and set the deadline for what is still missing of it."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.SEND_BODY:
            self._wait_for_body()
        elif self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._waiting_since is None and self.conn.trailing_data[0]:
            self._wait_for_head()

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._waiting_since = self.loop.time()
        self._timer = self.loop.call_later(self.head_timeout_s, self._close)

    def _wait_for_body(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(self.body_timeout_s, self._body_is_late)

    def _body_is_late(self) -> None:
        if self.flow.read_paused:  # it is the service that is not reading
            self._wait_for_body()
        elif self.conn.their_state is h11.SEND_BODY:
            self._close()

    def _stop_waiting(self) -> None:
        self._waiting_since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._stop_waiting()
        self.connections.discard(self)
        self.transport.close()
