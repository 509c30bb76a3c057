"""Tables of the catalogue; Alembic brings an older one up to date, in one transaction, when it is opened.

To change a table: change it here, add a revision to ``storage/migrations``; a test compares the two.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
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
    inspect,
    text,
)

from storage.errors import CatalogueError

metadata = MetaData()

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

REVISIONS: Final = Path(__file__).with_name("migrations")
BEFORE_ALEMBIC: Final = "catalogue_version"
"""Table of catalogues made before there were revisions: they hold what the first revision makes."""


def upgrade(connection: Connection, folder: Path = REVISIONS) -> None:
    """Create the tables of an empty database, or bring an older catalogue up to date.

    Raises
    ------
    CatalogueError
        The catalogue is newer than this program.
    """
    if connection.dialect.name == "postgresql":
        # Two services that start at once take turns; SQLite's write transaction already does this.
        connection.execute(text("SELECT pg_advisory_xact_lock(7079797861)"))
    scripts = ScriptDirectory(str(folder), version_locations=[str(folder)])
    known = {script.revision for script in scripts.walk_revisions()}

    def steps(found: Collection[str], context: MigrationContext) -> Iterator[MigrationStep]:
        missing = list(scripts.iterate_revisions("heads", tuple(found) or "base"))
        return (MigrationStep.upgrade_from_script(scripts.revision_map, script) for script in reversed(missing))

    options: dict[str, Any] = {"fn": steps}
    context = MigrationContext.configure(connection, opts=options)
    found = context.get_current_heads()
    if not known.issuperset(found):
        raise CatalogueError(
            f"the catalogue has revision {', '.join(found)}; this program knows up to {scripts.get_current_head()}: upgrade it"
        )
    if not found and inspect(connection).has_table(BEFORE_ALEMBIC):
        context.stamp(scripts, "0001")
        Operations(context).drop_table(BEFORE_ALEMBIC)
    context.run_migrations(op=Operations(context))
