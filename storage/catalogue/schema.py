"""Tables of the catalogue, and how an older one is brought up to date: Alembic revisions, run when it is opened.

To change a table: change it here and add a revision to ``migrations/versions``; a test compares the two.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    inspect,
    text,
)

from storage.errors import CatalogueError

REVISIONS: Final = Path(__file__).with_name("migrations")
UPGRADING: Final = threading.Lock()
"""Alembic's environment is global to the process: one upgrade at a time."""


class Json(TypeDecorator[Any]):
    """JSON whose unreadable text comes back as None, so that one damaged row does not hide the others."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """The reader of stored values."""
        decode = super().result_processor(dialect, coltype)

        def read(stored: Any) -> Any:
            try:
                return stored if decode is None else decode(stored)
            except ValueError:
                return None

        return read


metadata = MetaData()

datasets = Table(
    "datasets",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("project", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("title", Text, nullable=False),
    Column("sample_name", Text, nullable=False),
    Column("sample_group", Text, nullable=False),
    Column("element", String(8), nullable=False),
    Column("edge", String(8), nullable=False),
    Column("attributes", Json, nullable=False),
    Column("fault", Text),
    Column("n_scans", Integer, nullable=False),
    Column("n_bytes", BigInteger, nullable=False),
    Column("stamp", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    Index("datasets_by_age", "created", "id"),
    Index("datasets_by_project", "project", "created", "id"),
)

dataset_labels = Table(
    "dataset_labels",
    metadata,
    Column("dataset_id", String(128), ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("label", String(64), primary_key=True),
    Index("dataset_labels_by_label", "label"),
)

scans = Table(
    "scans",
    metadata,
    Column("dataset_id", String(128), ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(160), primary_key=True),
    Column("upload", String(160), nullable=False),
    Column("energy_ev", Float, nullable=False),
    Column("distance_m", Float, nullable=False),
    Column("detector_pixel_size_m", Float, nullable=False),
    Column("n_positions", Integer, nullable=False),
    Column("n_pixels", Integer, nullable=False),
    Column("n_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("n_entries", Integer, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("corners_m", Json, nullable=False),
    Column("warnings", Json, nullable=False, server_default="[]"),
    Column("image", Json),
    Column("stamp", String(64), nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("datasets", Json, nullable=False),
    Column("options", Json, nullable=False),
    Column("stages", Json, nullable=False),
    Column("progress", Float, nullable=False),
    Column("eta_s", Float),
    Column("error", Text),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
    Column("updated", Float, nullable=False),
    Index("runs_by_age", "created", "id"),
    Index("runs_by_project", "project", "created", "id"),
    Index("runs_by_state", "state"),
)

run_datasets = Table(
    "run_datasets",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("dataset_id", String(128), primary_key=True),
    Index("run_datasets_by_dataset", "dataset_id"),
)

run_steps = Table(
    "run_steps",
    metadata,
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("basis", String(64), nullable=False),
    Column("needed", LargeBinary, nullable=False),
    Column("past", LargeBinary, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("time", Float, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("data", Json, nullable=False),
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


def upgrade(connection: Connection, folder: Path = REVISIONS) -> None:
    """Create the tables of an empty database, or bring an older catalogue up to date, within the transaction under way.

    Raises
    ------
    CatalogueError
        The catalogue is newer than this program.
    """
    if connection.dialect.name == "postgresql":
        # Two services that start at once take turns; SQLite's write transaction already does this.
        connection.execute(text("SELECT pg_advisory_xact_lock(7079797861)"))
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    migration = MigrationContext.configure(connection)
    found = migration.get_current_heads()
    if not {script.revision for script in scripts.walk_revisions()}.issuperset(found):
        raise CatalogueError(
            f"the catalogue has revision {', '.join(found)}; this program knows up to {scripts.get_current_head()}: upgrade it"
        )
    if not found and not inspect(connection).get_table_names():
        # what all revisions lead to, which a test compares, in a third of their time
        metadata.create_all(connection)
        migration.stamp(scripts, "head")
    elif found != tuple(scripts.get_heads()):
        with UPGRADING:
            command.upgrade(config, "head")
