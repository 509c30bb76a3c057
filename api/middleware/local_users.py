"""Who may use a service without API keys: the user who runs it, and those to whom the user gives the service's token."""

import hmac
import os
import sys
from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, NamedTuple

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.authorization import OPEN_PATHS, secret_of, unauthorised
from api.problems import answer_http_error

TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""Linux's tables of TCP sockets, which name the user of each."""
ESTABLISHED: Final = "01"
"""State of a socket that a process holds: one that is closed belongs to nobody, which the table shows as user 0."""

Endpoint = tuple[str, int]


class LocalUserCheck:
    """ASGI middleware that lets in connections of the service's own user, and requests that carry its token.

    Parameters
    ----------
    app : ASGIApp
    token : str
        Accepted as ``Authorization: Bearer``, or as the password of Basic, for which a browser asks its user.
    accepts_own_user : bool
        Whether the service's own user needs no token.
    """

    def __init__(self, app: ASGIApp, token: str, accepts_own_user: bool = True) -> None:
        self.app, self._token, self._accepts_own_user = app, token.encode(), accepts_own_user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS and not await self._may_enter(scope):
            text = "this service belongs to another user of this machine: its token is needed, which it printed when it started"
            await answer_http_error(Request(scope), unauthorised(text, "token"))(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _may_enter(self, scope: Scope) -> bool:
        given = secret_of(Headers(scope=scope).get("authorization", ""))
        if given:
            return hmac.compare_digest(given.encode(), self._token)
        if not self._accepts_own_user or scope.get("client") is None or scope.get("server") is None:
            return False
        find = partial(peer_user, tuple(scope["client"]), tuple(scope["server"]))
        # A socket that is still established at the second look was so at the first, when its user was read.
        return await run_in_threadpool(find) == os.geteuid() and await run_in_threadpool(find) == os.geteuid()


class Connection(NamedTuple):
    """One established connection as its local end sees it."""

    local: tuple[IPv4Address | IPv6Address, int]
    remote: tuple[IPv4Address | IPv6Address, int]
    user: int


def peer_user(client: Endpoint, server: Endpoint, tables: tuple[Path, ...] = TABLES) -> int | None:
    """User whose process on this machine has the client's end of a connection; None where that is not known."""
    wanted = tuple((plain(ip_address(host.partition("%")[0])), port) for host, port in (client, server))
    for table in tables:
        for connection in connections(table):
            if (connection.local, connection.remote) == wanted:
                return connection.user
    return None


def connections(table: Path) -> Iterator[Connection]:
    """The established connections of one of Linux's tables; none where there is no such table."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        words = line.split()
        if words[3] == ESTABLISHED:
            yield Connection(endpoint_of(words[1]), endpoint_of(words[2]), int(words[7]))


def endpoint_of(word: str) -> tuple[IPv4Address | IPv6Address, int]:
    """Address and port of ``0100007F:1F90``, whose address is in words of 32 bits in the machine's order."""
    address, _, port = word.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    packed = b"".join(value.to_bytes(4, sys.byteorder) for value in words)
    return plain(ip_address(packed)), int(port, 16)


def plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address in place of the IPv6 address that stands for it."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
