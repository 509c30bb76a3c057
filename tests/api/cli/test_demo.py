"""The demo's own rules; the whole of it is played in tests/end_to_end."""

import socket
from pathlib import Path

import pytest

from api.cli.demo import DEMO_MARKER, errors_table, free_port, prepare
from service.errors import ConflictError
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


def test_the_table_has_every_error() -> None:
    within = {"edge_energy": 0.68, "pre_edge_ratio": 0.65, "electron_ratio": 0.66}
    table = errors_table(Assessment(0.011, 0.092, -0.02, 0.07, 1.01, 0.34, 0.42, 0.97, 0.88, 1e-3, 1e-3, within))
    cells = [cell for column in table.columns for cell in column.cells]
    for shown in ("+0.011", "0.092", "1.0100", "+0.34", "0.970", "0.88", "68%"):
        assert shown in cells
