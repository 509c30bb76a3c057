"""Tables of the catalogue, and how an older catalogue becomes a newer one.

``STEPS[n]`` turns version n into version n + 1; a catalogue is brought up to date, in one transaction, when it is
opened. A step is never changed once released, so it names columns in SQL of its own instead of using the tables below.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
    text,
    update,
)

from storage.errors import CatalogueError

metadata = MetaData()

version = Table("catalogue_version", metadata, Column("version", Integer, nullable=False))

datasets = Table(
    "datasets",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    Index("datasets_by_project", "project", "created", "id"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("datasets", JSON, nullable=False),
    Column("options", JSON, nullable=False),
    Column("stages", JSON, nullable=False),
    Column("progress", Float, nullable=False),
    Column("eta_s", Float),
    Column("error", Text),
    Column("notes", JSON),
    Column("timings", JSON),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
    Column("updated", Float, nullable=False),
    Index("runs_by_project", "project", "created", "id"),
    Index("runs_by_state", "state"),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("time", Float, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("data", JSON, nullable=False),
    Index("events_by_run", "run_id", "id"),
    sqlite_autoincrement=True,
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("project", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("body_digest", String(64), nullable=False),
    Column("run_id", String(64), nullable=False),
    Column("created", Float, nullable=False),
)

STEPS: Final[list[Callable[[Connection], None]]] = []
"""Steps from version 0 on; the catalogue's version is their number."""


def upgrade(connection: Connection, steps: list[Callable[[Connection], None]] = STEPS) -> None:
    """Create the tables of an empty database, or bring an older catalogue up to date.

    Raises
    ------
    CatalogueError
        The catalogue is newer than this program.
    """
    if connection.dialect.name == "postgresql":
        # Two services that start at once take turns; SQLite's write transaction already does this.
        connection.execute(text("SELECT pg_advisory_xact_lock(7079797861)"))
    version.create(connection, checkfirst=True)
    found = connection.execute(select(version.c.version)).scalar()
    if found is None:
        metadata.create_all(connection)
        connection.execute(insert(version).values(version=len(steps)))
        return
    if found > len(steps):
        raise CatalogueError(f"the catalogue has version {found}; this program knows up to {len(steps)}: upgrade it")
    for step in steps[found:]:
        step(connection)
    connection.execute(update(version).values(version=len(steps)))
