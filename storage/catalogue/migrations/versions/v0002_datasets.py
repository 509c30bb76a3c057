"""The catalogue knows datasets, their scans and labels, and which runs are on which datasets.

The first revision's table of datasets was never written; the new ones are filled from the dataset stores when a service
starts.
"""

import json
from typing import Any

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, Float, ForeignKey, Integer, String, Text, text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Replace the unused table of datasets, link runs to datasets, drop the columns that nothing wrote."""
    op.drop_index("datasets_by_project", "datasets")
    op.drop_table("datasets")
    make_datasets()
    make_scans()
    links = op.create_table(
        "run_datasets",
        Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        Column("dataset_id", String(128), primary_key=True),
    )
    op.create_index("run_datasets_by_dataset", "run_datasets", ["dataset_id"])
    rows: list[dict[str, Any]] = [
        {"run_id": run_id, "dataset_id": dataset_id}
        for run_id, stored in op.get_bind().execute(text("SELECT id, datasets FROM runs"))
        for dataset_id in dict.fromkeys(names_in(stored))
    ]
    if rows:
        op.bulk_insert(links, rows)
    op.create_index("runs_by_age", "runs", ["created", "id"])
    op.drop_column("runs", "notes")
    op.drop_column("runs", "timings")


def names_in(stored: Any) -> list[str]:
    """The dataset names in a run's column: text in SQLite, decoded by PostgreSQL's driver; none where it is damaged."""
    try:
        names = json.loads(stored) if isinstance(stored, str) else stored
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def make_datasets() -> None:
    """Make the tables of datasets and of their labels."""
    op.create_table(
        "datasets",
        Column("id", String(128), primary_key=True),
        Column("project", String(64), nullable=False),
        Column("state", String(16), nullable=False),
        Column("title", Text, nullable=False),
        Column("sample_name", Text, nullable=False),
        Column("sample_group", Text, nullable=False),
        Column("element", String(8), nullable=False),
        Column("edge", String(8), nullable=False),
        Column("attributes", JSON, nullable=False),
        Column("fault", Text),
        Column("n_scans", Integer, nullable=False),
        Column("n_bytes", BigInteger, nullable=False),
        Column("stamp", String(64), nullable=False),
        Column("created", Float, nullable=False),
        Column("updated", Float, nullable=False),
    )
    op.create_index("datasets_by_age", "datasets", ["created", "id"])
    op.create_index("datasets_by_project", "datasets", ["project", "created", "id"])
    op.create_table(
        "dataset_labels",
        Column("dataset_id", String(128), ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
        Column("label", String(64), primary_key=True),
    )
    op.create_index("dataset_labels_by_label", "dataset_labels", ["label"])


def make_scans() -> None:
    """Make the table of scans."""
    op.create_table(
        "scans",
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
        Column("corners_m", JSON, nullable=False),
        Column("stamp", String(64), nullable=False),
    )
