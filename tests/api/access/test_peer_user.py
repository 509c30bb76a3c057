"""Which user of this machine has the other end of a TCP connection."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from api.access.peer_user import TABLES, connections, endpoint_of, peer_user, unmapped, user_by_netlink

HAS_TABLE = TABLES[0].exists()


@pytest.mark.skipif(not HAS_TABLE, reason="this system has no table of sockets")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_the_kernel_tells_of_one_connection_what_its_tables_tell(host: str) -> None:
    try:
        listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError:
        pytest.skip("this system has no IPv6")
    with listener, socket.create_connection(listener.getsockname()[:2]) as client:
        accepted, _ = listener.accept()
        local, remote = ((unmapped(ip_address(end[0])), end[1]) for end in (client.getsockname(), client.getpeername()))
        listed = {(one.local, one.remote): one.user for table in TABLES for one in connections(table)}
        assert listed[local, remote] == os.geteuid()
        assert user_by_netlink(local, remote) in (os.geteuid(), None)
        assert peer_user(client.getsockname()[:2], client.getpeername()[:2]) == os.geteuid()
        assert user_by_netlink(remote, (local[0], 1)) is None
        accepted.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.skipif(not HAS_TABLE, reason="this system has no table of sockets")
def test_the_kernel_tells_another_user_apart() -> None:
    hold = (
        "import encodings.idna, os, socket, sys; os.setuid(65534); "
        "held = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); input()"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        command = [sys.executable, "-I", "-c", hold, str(listener.getsockname()[1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE, cwd="/") as other:
            accepted, client = listener.accept()
            assert peer_user(client, listener.getsockname()) == 65534
            assert peer_user(client, listener.getsockname(), tables=()) in (65534, None)
            accepted.close()
            other.communicate(b"\n")


@pytest.mark.skipif(not HAS_TABLE, reason="this system has no table of sockets")
def test_a_connection_that_was_closed_belongs_to_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        ends = client.getsockname(), listener.getsockname()
        assert peer_user(*ends) == os.geteuid()
        client.close()
        assert peer_user(*ends) is None
        accepted.close()


def test_addresses_are_read_in_the_order_of_the_machine(tmp_path: Path) -> None:
    mapped = "0000000000000000FFFF00000100007F" if sys.byteorder == "little" else "00000000000000000000FFFF7F000001"
    plain = "0100007F" if sys.byteorder == "little" else "7F000001"
    assert endpoint_of(f"{mapped}:1F90") == endpoint_of(f"{plain}:1F90")
    assert str(endpoint_of(f"{plain}:1F90")[0]) == "127.0.0.1"
    table = tmp_path / "tcp6"
    table.write_text(f"head\n 0: {mapped}:0050 {plain}:1F90 01 0 0 0 1234\n 1: {mapped}:0051 {plain}:1F90 06 0 0 0 0\n")
    assert [one.user for one in connections(table)] == [1234]
    assert peer_user(("127.0.0.1", 80), ("::ffff:127.0.0.1", 8080), (tmp_path / "none", table)) == 1234
    assert peer_user(("127.0.0.1", 81), ("127.0.0.1", 8080), (table,)) is None
