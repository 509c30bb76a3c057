"""The steps of runs that have ended, so that retention need not build their graphs to know them."""

from alembic import op
from sqlalchemy import Column, ForeignKey, LargeBinary, String

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table; what is missing in it is filled in when garbage is looked for."""
    op.create_table(
        "run_steps",
        Column("run_id", String(64), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
        Column("basis", String(64), nullable=False),
        Column("needed", LargeBinary, nullable=False),
        Column("past", LargeBinary, nullable=False),
    )
