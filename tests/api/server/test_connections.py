"""Deadlines of connections, and how many there may be."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.server.connections import LimitedConnection

CLOSED_S = 10.0
"""Closed within a second, but later on a machine that is busy with others; never without a deadline."""
HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class QuickConnection(LimitedConnection):
    """A connection whose deadlines pass while a test waits."""

    head_timeout_s = 0.4
    body_timeout_s = 0.6
    most_connections = 8


class PatientConnection(QuickConnection):
    """A connection whose body may take its time between two pieces."""

    head_timeout_s = 10.0
    body_timeout_s = 1.5


@pytest.fixture
def url(quick_server: Callable[..., Any]) -> Iterator[str]:
    with quick_server(http=QuickConnection) as server:
        yield server.url


def connect(url: str) -> socket.socket:
    host, port = httpx.URL(url).host, httpx.URL(url).port
    assert port is not None
    return socket.create_connection((host, port), timeout=60)


def is_closed_within(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\n", HEAD, b"POST /api/v1/runs HTTP/1.1\r\nContent-Le"])
def test_a_connection_without_a_whole_request_is_closed(url: str, sent: bytes) -> None:
    with connect(url) as connection:
        connection.sendall(sent)
        assert is_closed_within(connection, CLOSED_S)


def test_a_head_that_comes_byte_by_byte_is_closed_all_the_same(url: str) -> None:
    with connect(url) as connection:
        begun = time.monotonic()
        connection.sendall(HEAD)
        while not is_closed_within(connection, 0.02):
            assert time.monotonic() - begun < CLOSED_S
            connection.sendall(b"x")


def test_a_second_request_that_does_not_come_whole_is_closed(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(HEAD + b"\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        connection.sendall(HEAD)
        assert is_closed_within(connection, CLOSED_S)


def test_a_body_that_stalls_is_closed(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(b"POST /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        assert is_closed_within(connection, CLOSED_S)


def test_a_body_that_comes_slowly_but_comes_is_read(quick_server: Callable[..., Any]) -> None:
    """No pause is as long as the deadline, all of them together are."""
    headers, pause_s, pieces = {"Content-Type": "application/json"}, 0.4, (b"{", b'"a"', b":", b"1", b"}")
    assert len(pieces) * pause_s > PatientConnection.body_timeout_s

    def body() -> Iterator[bytes]:
        for piece in pieces:
            time.sleep(pause_s)
            yield piece

    with quick_server(http=PatientConnection) as server:
        assert httpx.post(f"{server.url}/api/v1/runs", content=body(), headers=headers, timeout=60).status_code == 422


def test_an_answer_may_take_longer_than_any_deadline(url: str) -> None:
    assert httpx.get(f"{url}/slow").json() == "done"


def test_many_half_open_connections_keep_nobody_out(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        assert client.get("/healthz").status_code == 200
        connections = []
        for number in range(40):
            connections.append(connect(url))
            connections[-1].sendall(HEAD)
            if number % 10 == 0:
                assert httpx.get(f"{url}/healthz").status_code == 200
        assert client.get("/healthz").status_code == 200
        assert sum(is_closed_within(connection, 0.05) for connection in connections) >= 30
        for connection in connections:
            connection.close()


def test_the_limit_stays_below_the_files_that_may_be_open(
    quick_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.server.connections.resource.getrlimit", lambda kind: (12, 12))
    with quick_server(http=LimitedConnection) as server:
        connections = [connect(server.url) for _ in range(12)]
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        assert sum(is_closed_within(connection, 0.1) for connection in connections) >= 6
        for connection in connections:
            connection.close()


@pytest.fixture
def quick_server(fake_app: FastAPI, start_server: Callable[..., Any]) -> Callable[..., Any]:
    """Starts a server with the given options, as a context; ``/slow`` answers after a second."""

    @fake_app.get("/slow")
    def get_slow() -> str:
        time.sleep(1.0)
        return "done"

    return lambda **options: start_server(fake_app, **options)
