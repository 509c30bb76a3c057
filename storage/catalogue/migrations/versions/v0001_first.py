"""Datasets, runs, events and idempotency keys."""

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, Float, ForeignKey, Integer, String, Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "datasets",
        Column("id", String(64), primary_key=True),
        Column("project", String(64), nullable=False),
        Column("state", String(16), nullable=False),
        Column("spec", JSON, nullable=False),
        Column("created", Float, nullable=False),
        Column("updated", Float, nullable=False),
    )
    op.create_index("datasets_by_project", "datasets", ["project", "created", "id"])
    make_runs()
    op.create_table(
        "events",
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        Column("time", Float, nullable=False),
        Column("kind", String(64), nullable=False),
        Column("data", JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("events_by_run", "events", ["run_id", "id"])
    op.create_table(
        "idempotency",
        Column("project", String(64), primary_key=True),
        Column("key", String(255), primary_key=True),
        Column("body_digest", String(64), nullable=False),
        Column("run_id", String(64), nullable=False),
        Column("created", Float, nullable=False),
    )


def make_runs() -> None:
    """Make the table of runs."""
    op.create_table(
        "runs",
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
    )
    op.create_index("runs_by_project", "runs", ["project", "created", "id"])
    op.create_index("runs_by_state", "runs", ["state"])
