"""Who may use a service without API keys: the user who runs it, and those to whom the user gives the service's token."""

import hmac
import os
import socket
import struct
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
ESTABLISHED: Final = 1
"""State of a socket that a process holds: one that is closed belongs to nobody, which is shown as user 0."""

SOCK_DIAG: Final = 4
"""Netlink's protocol that tells of single sockets (``man 7 sock_diag``)."""
SOCK_DIAG_BY_FAMILY: Final = 20
HEADER: Final = struct.Struct("=IHHII")
"""``nlmsghdr``: length, type, flags, sequence, port."""
IS_REQUEST: Final = 1
NO_COOKIE: Final = 0xFFFFFFFF
ID: Final = slice(4, 40)
"""Ports and addresses of an ``inet_diag_msg`` [bytes]."""
USER_AT: Final = 64

Endpoint = tuple[str, int]
Address = IPv4Address | IPv6Address


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

    local: tuple[Address, int]
    remote: tuple[Address, int]
    user: int


def peer_user(client: Endpoint, server: Endpoint, tables: tuple[Path, ...] = TABLES) -> int | None:
    """User whose process on this machine has the client's end of a connection; None where that is not known.

    Asked of the kernel for this one socket, in some 20 us. Reading its tables of all sockets takes 2 ms each, and is done where
    it does not answer.
    """
    ends = tuple((plain(ip_address(host.partition("%")[0])), port) for host, port in (client, server))
    user = asked_user(*ends)
    if user is not None:
        return user
    for table in tables:
        for connection in connections(table):
            if (connection.local, connection.remote) == ends:
                return connection.user
    return None


def asked_user(local: tuple[Address, int], remote: tuple[Address, int]) -> int | None:
    """User of the established socket with these ends, asked of the kernel; None where it knows of none or cannot be asked."""
    if not sys.platform.startswith("linux") or local[0].version != remote[0].version:
        return None
    family = socket.AF_INET if local[0].version == 4 else socket.AF_INET6
    addresses = b"".join(end[0].packed.ljust(16, b"\0") for end in (local, remote))
    wanted = struct.pack("!HH", local[1], remote[1]) + addresses
    request = struct.pack("=BBxxI", family, socket.IPPROTO_TCP, 1 << ESTABLISHED) + wanted
    request += struct.pack("=III", 0, NO_COOKIE, NO_COOKIE)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as kernel:
            kernel.settimeout(1.0)
            kernel.send(HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, IS_REQUEST, 0, 0) + request)
            answer = kernel.recv(4096)
    except OSError:
        return None
    kind, found = HEADER.unpack_from(answer)[1], answer[HEADER.size :]
    # without such a connection the kernel tells of who listens at its local end
    if kind != SOCK_DIAG_BY_FAMILY or found[1] != ESTABLISHED or found[ID] != wanted:
        return None
    return int(struct.unpack_from("=I", found, USER_AT)[0])


def connections(table: Path) -> Iterator[Connection]:
    """The established connections of one of Linux's tables; none where there is no such table."""
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        words = line.split()
        if int(words[3], 16) == ESTABLISHED:
            yield Connection(endpoint_of(words[1]), endpoint_of(words[2]), int(words[7]))


def endpoint_of(word: str) -> tuple[Address, int]:
    """Address and port of ``0100007F:1F90``, whose address is in words of 32 bits in the machine's order."""
    address, _, port = word.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    packed = b"".join(value.to_bytes(4, sys.byteorder) for value in words)
    return plain(ip_address(packed)), int(port, 16)


def plain(address: Address) -> Address:
    """An IPv4 address in place of the IPv6 address that stands for it."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
