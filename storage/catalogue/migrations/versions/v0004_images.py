"""Images among the scans: their shape, pixel and what they hold."""

from alembic import op
from sqlalchemy import JSON, Column

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column; scans of earlier revisions are diffraction patterns, which have none."""
    op.add_column("scans", Column("image", JSON))
