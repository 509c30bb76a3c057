"""Warnings of the scans: what was decided or assumed about each when it was read."""

from alembic import op
from sqlalchemy import JSON, Column

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; every store is read again when it is next looked at, because its stamp is no longer known."""
    op.add_column("scans", Column("warnings", JSON, nullable=False, server_default="[]"))
    op.execute("UPDATE datasets SET stamp = ''")
