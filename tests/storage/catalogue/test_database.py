import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from storage.catalogue import database
from storage.catalogue.catalogue import Catalogue
from storage.catalogue.database import refuse_network
from storage.catalogue.events import NewEvent
from storage.errors import CatalogueBusyError, CatalogueError, CatalogueFullError, CatalogueUnavailableError, RowExistsError

MOUNTS = """22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:35 / {shared} rw,relatime shared:2 - nfs4 server:/export rw
41 40 8:2 / {shared}/my\\040disk rw,relatime - xfs /dev/sdb1 rw
"""


def test_a_network_file_system_is_refused_saying_why(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    shared = tmp_path / "shared"
    (shared / "my disk").mkdir(parents=True)
    mounts.write_text(MOUNTS.format(shared=shared))
    with pytest.raises(CatalogueError, match="is on nfs4, a network file system"):
        refuse_network(shared / "catalogue.db", mounts)
    refuse_network(shared / "my disk" / "catalogue.db", mounts)
    refuse_network(tmp_path / "catalogue.db", mounts)
    refuse_network(tmp_path / "catalogue.db", tmp_path / "no-such-file")


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("no url", "not a database URL"),
        ("sqlite:////proc/no/such/folder/c.db", "cannot be used"),
    ],
)
def test_a_url_that_cannot_be_a_catalogue_is_refused(url: str, cause: str) -> None:
    with pytest.raises(CatalogueError, match=cause):
        Catalogue(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.db").write_bytes(b"not a database " * 100)
    with pytest.raises(CatalogueError, match="cannot be used"):
        Catalogue(f"sqlite:///{tmp_path}/c.db")


def test_sqlite_writes_ahead_and_survives_a_killed_writer(tmp_path: Path) -> None:
    catalogue = Catalogue(f"sqlite:///{tmp_path}/c.db")
    catalogue.runs.create("run_1", "", "queued", [], {})
    other = sqlite3.connect(tmp_path / "c.db")
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE runs SET name = 'half'")
    other.close()
    row = catalogue.runs.get("run_1")
    assert row is not None
    assert row["name"] == ""
    catalogue.close()


def test_a_writer_waits_for_another_and_readers_do_not(tmp_path: Path) -> None:
    catalogue = Catalogue(f"sqlite:///{tmp_path}/c.db")
    catalogue.runs.create("run_1", "", "queued", [], {})
    other = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer = threading.Thread(target=catalogue.events.add, args=("run_1", [NewEvent("state", {})]))
    writer.start()
    assert catalogue.runs.get("run_1") is not None
    assert catalogue.events.after("run_1") == []
    other.execute("COMMIT")
    other.close()
    writer.join(timeout=20)
    assert len(catalogue.events.after("run_1")) == 1
    catalogue.close()


def test_a_database_that_stays_locked_is_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0)
    catalogue = Catalogue(f"sqlite:///{tmp_path}/c.db")
    with closing(sqlite3.connect(tmp_path / "c.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CatalogueUnavailableError, match="database is locked"):
            catalogue.runs.create("run_1", "", "queued", [], {})
        other.execute("ROLLBACK")
    catalogue.runs.create("run_1", "", "queued", [], {})
    with pytest.raises(CatalogueError, match="already") as refused:
        catalogue.runs.create("run_1", "", "queued", [], {})
    assert not isinstance(refused.value, CatalogueUnavailableError)
    catalogue.close()


def test_two_services_that_start_at_once_make_one_catalogue(tmp_path: Path) -> None:
    made: list[Catalogue] = []
    threads = [threading.Thread(target=lambda: made.append(Catalogue(f"sqlite:///{tmp_path}/c.db"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6
    for catalogue in made:
        assert catalogue.datasets.page() == []
        catalogue.close()


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    catalogue = Catalogue(f"sqlite:///{tmp_path}/c.db")
    catalogue.runs.create("run_1", "", "queued", [], {})
    yield catalogue
    catalogue.close()


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Databases that are opened meanwhile may not grow any more."""

    def forbid_growth(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")

    event.listen(Engine, "connect", forbid_growth)
    yield
    event.remove(Engine, "connect", forbid_growth)


def test_a_full_disk_is_told_as_such_and_nothing_is_written(tmp_path: Path, catalogue: Catalogue, full_disk: None) -> None:
    other = Catalogue(f"sqlite:///{tmp_path}/c.db")
    with pytest.raises(CatalogueFullError, match="no room on the disk"):
        other.runs.create("run_2", "n" * 100_000, "queued", [], {})
    assert other.runs.get("run_2") is None
    assert other.is_ready()
    other.close()


@pytest.mark.parametrize(
    ("n_free", "is_writable", "told"),
    [
        (0, True, "the disk of .* is full"),
        (1 << 40, False, "c.db is read-only, or belongs to another user"),
        (1 << 40, True, "x$"),
    ],
)
def test_a_catalogue_that_does_not_open_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_free: int, is_writable: bool, told: str
) -> None:
    (tmp_path / "c.db").touch()
    monkeypatch.setattr(database, "upgrade", fail_as_database)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=n_free))
    monkeypatch.setattr(os, "access", lambda *_: is_writable)
    with pytest.raises(CatalogueError, match=told):
        Catalogue(f"sqlite:///{tmp_path}/c.db")


def fail_as_database(_: object) -> None:
    raise OperationalError("", {}, sqlite3.OperationalError("disk I/O error x"))


def test_a_locked_catalogue_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.catalogue.database.BUSY_TIMEOUT_S", 0.1)
    catalogue = Catalogue(f"sqlite:///{tmp_path}/c.db")
    with closing(sqlite3.connect(tmp_path / "c.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CatalogueBusyError, match="locked"):
            catalogue.runs.create("run_1", "", "queued", [], {})
        assert catalogue.runs.get("run_1") is None
        assert catalogue.is_ready(), "it can be read meanwhile"
        other.rollback()
    catalogue.runs.create("run_1", "", "queued", [], {})
    catalogue.close()


def test_a_run_that_is_there_already_is_no_failure_of_the_database(catalogue: Catalogue) -> None:
    with pytest.raises(RowExistsError, match="run_1"):
        catalogue.runs.create("run_1", "", "queued", [], {})
    queued = ("state", {"state": "queued"})
    with pytest.raises(RowExistsError, match="run_1"):
        catalogue.runs.create("run_1", "", "queued", [], {}, first_event=queued)
    assert catalogue.events.after("run_1") == []
    catalogue.runs.create("run_2", "", "queued", [], {}, first_event=queued)
    assert [(event["kind"], event["data"]) for event in catalogue.events.after("run_2")] == [queued]


def empty_log(path: Path) -> None:
    """Bring what is in the write-ahead log into the file itself."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def damage_pages(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"garbage " * 4096),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        damage_pages,
        lambda path: path.unlink(),
    ],
    ids=["overwritten", "emptied", "cut", "pages", "removed"],
)
def test_a_damaged_catalogue_is_not_ready(tmp_path: Path, catalogue: Catalogue, damage: Callable[[Path], None]) -> None:
    assert catalogue.is_ready()
    empty_log(tmp_path / "c.db")
    damage(tmp_path / "c.db")
    assert not catalogue.is_ready()


def test_a_large_catalogue_is_opened_but_not_read_whole(
    tmp_path: Path, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.catalogue.database.MOST_CHECKED_BYTES", 10)
    assert catalogue.is_ready()
    empty_log(tmp_path / "c.db")
    (tmp_path / "c.db").write_bytes(b"garbage " * 4096)
    assert not catalogue.is_ready()
