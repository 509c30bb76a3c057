from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, inspect, text

from storage.catalogue import Catalogue
from storage.errors import CatalogueError
from storage.schema import metadata, upgrade


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    Catalogue(f"sqlite:///{tmp_path}/c.db").close()
    engine = create_engine(f"sqlite:///{tmp_path}/c.db")
    yield engine
    engine.dispose()


def add_operator(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE runs ADD COLUMN operator TEXT"))


def break_down(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE runs ADD COLUMN half TEXT"))
    raise RuntimeError("power cut")


def test_a_new_catalogue_has_every_table(engine: Engine) -> None:
    assert set(inspect(engine).get_table_names()) >= set(metadata.tables)


def test_an_older_catalogue_is_brought_up_to_date_once_and_keeps_its_rows(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO idempotency VALUES ('p', 'k', 'd', 'r', 1.0)"))
    for _ in range(2):
        with engine.begin() as connection:
            upgrade(connection, [add_operator])
    assert "operator" in {column["name"] for column in inspect(engine).get_columns("runs")}
    with engine.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM idempotency")).scalar() == 1
        assert connection.execute(text("SELECT version FROM catalogue_version")).scalar() == 1


def test_a_newer_catalogue_is_refused(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        upgrade(connection, [add_operator])
    with pytest.raises(CatalogueError, match="version 1; this program knows up to 0"):
        Catalogue(f"sqlite:///{tmp_path}/c.db")


def test_a_step_that_fails_changes_nothing(engine: Engine) -> None:
    connection = engine.connect()
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    with pytest.raises(RuntimeError, match="power cut"):
        upgrade(connection, [add_operator, break_down])
    connection.rollback()
    connection.close()
    assert not {"operator", "half"} & {column["name"] for column in inspect(engine).get_columns("runs")}
