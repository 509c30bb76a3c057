"""Who may use a service without keys: a connection's user, and the token."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from api.middleware.local_users import TABLES, LocalUserCheck, asked_user, connections, endpoint_of, peer_user, plain
from api.server import HttpServer

HAS_TABLE = Path("/proc/net/tcp").exists()
GET_AS_NOBODY = """
import encodings.idna, http.client, os, sys
os.setgid(65534); os.setuid(65534)
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
given = {"Authorization": "Bearer " + sys.argv[3]} if len(sys.argv) > 3 else {}
connection.request("GET", "/thing", headers={"X-Forwarded-For": sys.argv[2], **given})
print(connection.getresponse().status)
"""


class Serving:
    """A one-route application behind the check, on a real socket."""

    def __init__(self, accepts_own_user: bool) -> None:
        app = FastAPI()
        app.state.closing = asyncio.Event()
        app.get("/thing")(lambda: {})
        app.get("/healthz")(lambda: {})
        app.add_middleware(LocalUserCheck, token="s3cret", accepts_own_user=accepts_own_user)
        started = threading.Event()
        self.server = HttpServer(app, lambda url: started.set(), host="127.0.0.1", port=0, log_level="error", proxy_headers=False)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        assert started.wait(30)
        self.url = self.server.url

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)


@pytest.fixture(scope="module", params=[True, False], ids=["own-user", "token"])
def serving(request: pytest.FixtureRequest) -> Iterator[tuple[Serving, bool]]:
    serving = Serving(request.param)
    yield serving, request.param
    serving.stop()


def test_the_own_user_needs_no_token_unless_all_do(serving: tuple[Serving, bool]) -> None:
    service, accepts_own_user = serving
    found = httpx.get(f"{service.url}/thing")
    assert found.status_code == (200 if accepts_own_user and HAS_TABLE else 401)
    assert httpx.get(f"{service.url}/healthz").status_code == 200
    if found.status_code == 401:
        assert found.json()["code"] == "unauthorised"
        assert found.headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer s3cret", 200),
        ("Basic " + base64.b64encode(b"any:s3cret").decode(), 200),
        ("Bearer other", 401),
        ("Bearer \xe9", 401),
        ("Basic ???", None),
    ],
)
def test_a_token_is_compared_whoever_sends_it(serving: tuple[Serving, bool], authorization: str, status: int | None) -> None:
    service, accepts_own_user = serving
    expected = status or (200 if accepts_own_user and HAS_TABLE else 401)
    answer = httpx.get(f"{service.url}/thing", headers=[(b"Authorization", authorization.encode("latin-1"))])
    assert answer.status_code == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.skipif(not HAS_TABLE, reason="this system has no table of sockets")
def test_another_user_needs_the_token_and_can_borrow_no_connection(serving: tuple[Serving, bool]) -> None:
    service, _ = serving
    port = int(service.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as own:
        own_end = f"127.0.0.1:{own.getsockname()[1]}"
        for words, code in ((("127.0.0.1",), "401"), ((own_end,), "401"), (("127.0.0.1", "s3cret"), "200")):
            command = [sys.executable, "-I", "-c", GET_AS_NOBODY, str(port), *words]
            done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60, check=True)
            assert done.stdout.strip() == code, words


@pytest.mark.skipif(not HAS_TABLE, reason="this system has no table of sockets")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_the_kernel_tells_of_one_connection_what_its_tables_tell(host: str) -> None:
    try:
        listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError:
        pytest.skip("this system has no IPv6")
    with listener, socket.create_connection(listener.getsockname()[:2]) as client:
        accepted, _ = listener.accept()
        local, remote = ((plain(ip_address(end[0])), end[1]) for end in (client.getsockname(), client.getpeername()))
        listed = {(one.local, one.remote): one.user for table in TABLES for one in connections(table)}
        assert listed[local, remote] == os.geteuid()
        assert asked_user(local, remote) in (os.geteuid(), None)
        assert peer_user(client.getsockname()[:2], client.getpeername()[:2]) == os.geteuid()
        assert asked_user(remote, (local[0], 1)) is None
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
