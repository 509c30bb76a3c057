"""Which user of this machine has the other end of a TCP connection: asked of the kernel, or read in its tables of sockets."""

import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, NamedTuple

TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""Linux's tables of TCP sockets, which name the user of each."""
ESTABLISHED: Final = 1
"""State of a socket that a process holds: one that is closed belongs to nobody, which is shown as user 0."""

SOCK_DIAG: Final = 4
"""Netlink's protocol that tells of single sockets (``man 7 sock_diag``)."""
SOCK_DIAG_BY_FAMILY: Final = 20
"""Type of a message of that protocol: a request, and the answer that describes a socket."""
HEADER: Final = struct.Struct("=IHHII")
"""``nlmsghdr``: length, type, flags, sequence, port."""
IS_REQUEST: Final = 1
"""``NLM_F_REQUEST``, the flag of a request."""
NO_COOKIE: Final = 0xFFFFFFFF
"""Either half of the cookie in a request for any socket with the given ends."""
ENDS: Final = slice(4, 40)
"""Ports and addresses in an ``inet_diag_msg`` [bytes]."""
USER_AT: Final = 64
"""Place of the user in an ``inet_diag_msg`` [byte]."""

Endpoint = tuple[str, int]
Address = IPv4Address | IPv6Address


class Connection(NamedTuple):
    """One established connection as its local end sees it."""

    local: tuple[Address, int]
    remote: tuple[Address, int]
    user: int


def peer_user(client: Endpoint, server: Endpoint, tables: tuple[Path, ...] = TABLES) -> int | None:
    """User whose process on this machine has the client's end of a connection; None where that is not known.

    The kernel answers for this one socket in some 20 us. Its tables of all sockets, which take 2 ms each, are read where it
    does not.
    """
    ends = tuple((unmapped(ip_address(host.partition("%")[0])), port) for host, port in (client, server))
    user = user_by_netlink(*ends)
    if user is not None:
        return user
    for table in tables:
        for connection in connections(table):
            if (connection.local, connection.remote) == ends:
                return connection.user
    return None


def user_by_netlink(local: tuple[Address, int], remote: tuple[Address, int]) -> int | None:
    """User of the established socket with these ends; None where the kernel knows of none or cannot be asked."""
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
    if kind != SOCK_DIAG_BY_FAMILY or found[1] != ESTABLISHED or found[ENDS] != wanted:
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
    return unmapped(ip_address(packed)), int(port, 16)


def unmapped(address: Address) -> Address:
    """An IPv4 address in place of the IPv6 address that stands for it."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
