"""Alembic's environment: runs the revisions of ``versions/`` over the connection that `storage.catalogue.schema` opened.

For ``alembic revision --autogenerate`` on a developer's machine it opens ``sqlalchemy.url`` of the configuration instead.
A revision is never changed once released, so it names tables and columns itself instead of using those of the schema.
"""

from alembic import context
from sqlalchemy import Connection, create_engine, pool

from storage.catalogue.schema import metadata


def run(connection: Connection) -> None:
    """Run the revisions asked for, within the connection's transaction."""
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with create_engine(context.config.get_main_option("sqlalchemy.url") or "", poolclass=pool.NullPool).begin() as opened:
        run(opened)
