"""The demo's own rules; the whole of it is played in tests/end_to_end."""

import socket
import time
from pathlib import Path

import pytest

from api.cli import demo
from api.cli.demo import DEMO_MARKER, ServerThread, errors_table, free_port, prepare
from service.errors import ConflictError, ServiceError
from service.settings import Settings
from tasks.simulation.truth import Assessment


def test_only_a_folder_of_an_earlier_demo_is_emptied(tmp_path: Path) -> None:
    prepare(tmp_path / "demo")
    (tmp_path / "demo" / "old").touch()
    prepare(tmp_path / "demo")
    assert [path.name for path in (tmp_path / "demo").iterdir()] == [DEMO_MARKER]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ConflictError, match="not empty"):
        prepare(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_a_taken_port_is_left_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert free_port(taken.getsockname()[1]) == 0
        port = taken.getsockname()[1]
    assert free_port(port) == port


class SlowServer:
    """Stands in for the HTTP server: it starts after a while, and serves until it is told to end."""

    url = "http://127.0.0.1:1"

    def __init__(self, starts: bool = True) -> None:
        self.started = self.should_exit = self.ended_well = False
        self._starts = starts

    def run(self) -> None:
        time.sleep(0.2)
        self.started = self._starts and not self.should_exit
        while self.started and not self.should_exit:
            time.sleep(0.01)
        self.ended_well = self.started


def open_with(monkeypatch: pytest.MonkeyPatch, opened: SlowServer | Exception) -> ServerThread:
    """A thread whose server is this one, or cannot be opened."""

    def open_server(*_: object) -> SlowServer:
        if isinstance(opened, Exception):
            raise opened
        return opened

    monkeypatch.setattr(demo, "open_server", open_server)
    return ServerThread(Settings(), lambda url: None)


def test_the_service_starts_beside_the_measurement_and_ends_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    server = SlowServer()
    with open_with(monkeypatch, server) as thread:
        assert not server.started
        assert thread.wait_for_url() == server.url
        assert thread.is_alive()
    assert server.ended_well
    assert not thread.is_alive()


def test_a_measurement_that_fails_ends_the_service_that_was_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    server = SlowServer()
    with pytest.raises(ValueError, match="no such edge"), open_with(monkeypatch, server):
        raise ValueError("no such edge")
    assert server.ended_well, "told to end before it has started, it would leave its workers behind"


def test_a_service_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(ConflictError, match="another ptyxas service"),
        open_with(monkeypatch, ConflictError("another ptyxas service works there")) as thread,
    ):
        thread.wait_for_url()
    with pytest.raises(ServiceError, match="did not start"), open_with(monkeypatch, SlowServer(starts=False)) as thread:
        thread.wait_for_url()


def test_the_table_has_every_error() -> None:
    within = {"edge_energy": 0.68, "pre_edge_ratio": 0.65, "electron_ratio": 0.66}
    table = errors_table(Assessment(0.011, 0.092, -0.02, 0.07, 1.01, 0.34, 0.42, 0.97, 0.88, 1e-3, 1e-3, within))
    cells = [cell for column in table.columns for cell in column.cells]
    for shown in ("+0.011", "0.092", "1.0100", "+0.34", "0.970", "0.88", "68%"):
        assert shown in cells
