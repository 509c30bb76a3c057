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

import httpx
import pytest
from fastapi import FastAPI

from api.access.peer_user import TABLES
from api.middleware.local_users import LocalUserCheck
from api.server.http_server import HttpServer

HAS_TABLE = TABLES[0].exists()
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


@pytest.mark.skipif(not HAS_TABLE, reason="this system has no table of sockets")
def test_the_own_user_is_found_in_the_tables_where_the_kernel_does_not_answer(
    serving: tuple[Serving, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, accepts_own_user = serving
    asked: list[object] = []
    monkeypatch.setattr("api.access.peer_user.user_by_netlink", lambda *ends: asked.append(ends))
    assert httpx.get(f"{service.url}/thing").status_code == (200 if accepts_own_user else 401)
    assert bool(asked) == accepts_own_user


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
