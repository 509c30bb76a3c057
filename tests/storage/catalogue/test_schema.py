import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, inspect, text

from storage.catalogue.catalogue import Catalogue
from storage.catalogue.events import NewEvent
from storage.catalogue.runs import RunFilter
from storage.catalogue.schema import REVISIONS, metadata, upgrade
from storage.errors import CatalogueError

NEXT = '''"""Runs know their operator."""

from alembic import op
from sqlalchemy import Column, Text

revision = "9999"
down_revision = "0005"


def upgrade():
    op.add_column("runs", Column("operator", Text))
'''

FIRST_RELEASE = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO alembic_version VALUES ('0001');
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
INSERT INTO runs VALUES ('run_1', 'p', 'old', 'running', '["ds_1", "ds_2"]', '{"fit": {}}', '[]', 0.5, NULL, NULL, NULL, NULL,
    1.0, 2.0, NULL, 3.0);
INSERT INTO runs VALUES ('run_2', 'p', 'damaged', 'failed', '["ds_', '{}', '[]', 0.5, NULL, NULL, NULL, NULL,
    1.0, 2.0, NULL, 3.0);
INSERT INTO events VALUES (41, 'run_1', 2.0, 'state', '{"state": "running"}');
INSERT INTO idempotency VALUES ('p', 'k', 'd', 'run_1', 1.0);
"""
"""The first revision, with rows, as a service left it."""


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
    (folder / "versions" / "v9999_operator.py").write_text(NEXT)
    return folder


def columns_of_runs(engine: Engine) -> set[str]:
    return {column["name"] for column in inspect(engine).get_columns("runs")}


def tables(connection: Connection) -> dict[str, list[object]]:
    """Columns, keys, indexes and the kind of identifier of every table, as the database tells them."""
    known = inspect(connection)
    found: dict[str, list[object]] = {}
    for name in known.get_table_names():
        columns = {column["name"]: {**column, "type": str(column["type"])} for column in known.get_columns(name)}
        keys = known.get_pk_constraint(name), known.get_foreign_keys(name), known.get_unique_constraints(name)
        found[name] = [columns, *keys, {str(index["name"]): index for index in known.get_indexes(name)}]
        if connection.dialect.name == "sqlite":
            made = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": name}).scalar_one()
            found[name].append("AUTOINCREMENT" in made)
    return found


def test_revisions_make_what_the_schema_says(url: str) -> None:
    """An empty database gets the tables of the schema at once, an older one by the revisions: both are the same."""
    Catalogue(url).close()
    engine = create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(REVISIONS))
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        at_once = tables(connection)
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert tables(connection) == at_once
    engine.dispose()


def test_a_catalogue_of_the_first_release_loses_nothing(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "c.db")) as old:
        old.executescript(FIRST_RELEASE)
    for _ in range(2):
        with closing(Catalogue(f"sqlite:///{tmp_path}/c.db")) as catalogue:
            (row,) = catalogue.runs.page(matching=RunFilter(dataset="ds_2"))
            assert (row["id"], row["options"], row["progress"]) == ("run_1", {"fit": {}}, 0.5)
            assert row["datasets"] == ["ds_1", "ds_2"]
            assert len(catalogue.runs.page()) == 2
            assert catalogue.runs.claim("k", "other", "run_2", "p")["run_id"] == "run_1"
            assert catalogue.events.after("run_1")[0]["id"] == 41
            assert catalogue.events.add("run_1", [NewEvent("note", {})]) > [41]
            assert catalogue.datasets.page() == []
    engine = create_engine(f"sqlite:///{tmp_path}/c.db")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_first_revision_of_postgresql_is_upgraded_as_well(postgresql_url: str) -> None:
    engine = create_engine(postgresql_url)
    config = Config()
    config.set_main_option("script_location", str(REVISIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO runs (id, project, name, state, datasets, options, stages, progress, created, updated) "
                """VALUES ('run_1', 'p', '', 'running', '["ds_1"]', '{}', '[]', 0, 1, 1)"""
            )
        )
    engine.dispose()
    with closing(Catalogue(postgresql_url)) as catalogue:
        assert [row["id"] for row in catalogue.runs.page(matching=RunFilter(dataset="ds_1"))] == ["run_1"]


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
    broken = (later / "versions" / "v9999_operator.py").read_text() + "    raise RuntimeError('power cut')\n"
    (later / "versions" / "v9999_operator.py").write_text(broken)
    connection = engine.connect()
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    with pytest.raises(RuntimeError, match="power cut"):
        upgrade(connection, later)
    connection.rollback()
    connection.close()
    assert "operator" not in columns_of_runs(engine)
    with engine.begin() as connection:
        upgrade(connection)
