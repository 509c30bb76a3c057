import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, text

from storage.catalogue.catalogue import Catalogue
from storage.catalogue.schema import REVISIONS, metadata, upgrade
from storage.errors import CatalogueError

NEXT = '''"""Runs know their operator."""

from sqlalchemy import Column, Text

revision = "9999"
down_revision = "0001"


def upgrade(op):
    op.add_column("runs", Column("operator", Text))
'''

BEFORE_ALEMBIC = """
CREATE TABLE catalogue_version (version INTEGER NOT NULL);
INSERT INTO catalogue_version VALUES (0);
CREATE TABLE datasets (id VARCHAR(64) NOT NULL, project VARCHAR(64) NOT NULL, state VARCHAR(16) NOT NULL,
    spec JSON NOT NULL, created FLOAT NOT NULL, updated FLOAT NOT NULL, PRIMARY KEY (id));
CREATE INDEX datasets_by_project ON datasets (project, created, id);
CREATE TABLE runs (id VARCHAR(64) NOT NULL, project VARCHAR(64) NOT NULL, name TEXT NOT NULL, state VARCHAR(16) NOT NULL,
    datasets JSON NOT NULL, options JSON NOT NULL, stages JSON NOT NULL, progress FLOAT NOT NULL, eta_s FLOAT, error TEXT,
    notes JSON, timings JSON, created FLOAT NOT NULL, started FLOAT, finished FLOAT, updated FLOAT NOT NULL, PRIMARY KEY (id));
CREATE INDEX runs_by_state ON runs (state);
CREATE INDEX runs_by_project ON runs (project, created, id);
CREATE TABLE idempotency (project VARCHAR(64) NOT NULL, "key" VARCHAR(255) NOT NULL, body_digest VARCHAR(64) NOT NULL,
    run_id VARCHAR(64) NOT NULL, created FLOAT NOT NULL, PRIMARY KEY (project, "key"));
CREATE TABLE events (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, run_id VARCHAR(64) NOT NULL, time FLOAT NOT NULL,
    kind VARCHAR(64) NOT NULL, data JSON NOT NULL, FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE);
CREATE INDEX events_by_run ON events (run_id, id);
INSERT INTO runs VALUES ('run_1', 'p', 'old', 'running', '["ds_1"]', '{"fit": {}}', '[]', 0.5, NULL, NULL, NULL, NULL,
    1.0, 2.0, NULL, 3.0);
INSERT INTO events VALUES (41, 'run_1', 2.0, 'state', '{"state": "running"}');
INSERT INTO idempotency VALUES ('p', 'k', 'd', 'run_1', 1.0);
"""
"""What a service made before revisions were kept by Alembic."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    Catalogue(f"sqlite:///{tmp_path}/c.db").close()
    engine = create_engine(f"sqlite:///{tmp_path}/c.db")
    yield engine
    engine.dispose()


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """Revisions of a later version of this program."""
    folder = tmp_path / "migrations"
    shutil.copytree(REVISIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "v9999_operator.py").write_text(NEXT)
    return folder


def columns_of_runs(engine: Engine) -> set[str]:
    return {column["name"] for column in inspect(engine).get_columns("runs")}


def test_revisions_make_what_the_schema_says(url: str) -> None:
    Catalogue(url).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_catalogue_from_before_revisions_loses_nothing(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "c.db")) as old:
        old.executescript(BEFORE_ALEMBIC)
    for _ in range(2):
        with closing(Catalogue(f"sqlite:///{tmp_path}/c.db")) as catalogue:
            (row,) = catalogue.unfinished_runs()
            assert (row["id"], row["datasets"], row["options"], row["progress"]) == ("run_1", ["ds_1"], {"fit": {}}, 0.5)
            assert catalogue.claim("k", "other", "run_2", "p")["run_id"] == "run_1"
            assert catalogue.events_after("run_1")[0]["id"] == 41
            assert catalogue.add_event("run_1", "note", {}) > 41
    engine = create_engine(f"sqlite:///{tmp_path}/c.db")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_an_older_catalogue_is_brought_up_to_date_once_and_keeps_its_rows(engine: Engine, later: Path) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO idempotency VALUES ('p', 'k', 'd', 'r', 1.0)"))
    for _ in range(2):
        with engine.begin() as connection:
            upgrade(connection, later)
    assert "operator" in columns_of_runs(engine)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM idempotency")).scalar() == 1


def test_a_newer_catalogue_is_refused(engine: Engine, later: Path, tmp_path: Path) -> None:
    with engine.begin() as connection:
        upgrade(connection, later)
    with pytest.raises(CatalogueError, match=r"has revision 9999; this program knows up to \d+: upgrade it"):
        Catalogue(f"sqlite:///{tmp_path}/c.db")


def test_a_revision_that_fails_changes_nothing(engine: Engine, later: Path) -> None:
    broken = (later / "v9999_operator.py").read_text() + "    raise RuntimeError('power cut')\n"
    (later / "v9999_operator.py").write_text(broken)
    connection = engine.connect()
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    with pytest.raises(RuntimeError, match="power cut"):
        upgrade(connection, later)
    connection.rollback()
    connection.close()
    assert "operator" not in columns_of_runs(engine)
    with engine.begin() as connection:
        upgrade(connection)
