"""Events of runs, numbered in the order in which they can be seen."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select

from storage.catalogue.database import Database, Row
from storage.catalogue.schema import events, runs
from storage.errors import CatalogueError


class EventTable:
    """What happened to each run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run_id: str, kind: str, data: Mapping[str, Any]) -> int:
        """Add an event to a run and return its number; numbers ascend in the order in which they can be seen.

        Raises
        ------
        CatalogueError
            No such run.
        """
        with self._database.write() as connection:
            return insert_event(connection, run_id, kind, data)

    def add_all(self, run_id: str, told: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Add events to a run, kinds and data, in one transaction.

        Raises
        ------
        CatalogueError
            No such run.
        """
        with self._database.write() as connection:
            for kind, data in told:
                insert_event(connection, run_id, kind, data)

    def after(self, run_id: str, number: int = 0, limit: int = 1000, kind: str | None = None) -> list[Row]:
        """Events of a run numbered above ``number``, in order; of one kind, or of all."""
        wanted = (events.c.run_id == run_id, events.c.id > number, *(() if kind is None else (events.c.kind == kind,)))
        return self._database.rows(select(events).where(*wanted).order_by(events.c.id).limit(limit))

    def follow(self, run_id: str, number: int, limit: int, project: str | None = None) -> tuple[str | None, list[Row]]:
        """The state of a run and its events numbered above ``number``, in order, at one moment.

        The state is None where there is no such run, or it is another project's.
        """
        new = (events.c.run_id == runs.c.id) & (events.c.id > number)
        query = select(runs.c.state, events).outerjoin_from(runs, events, new).where(runs.c.id == run_id)
        if project is not None:
            query = query.where(runs.c.project == project)
        rows = self._database.rows(query.order_by(events.c.id).limit(limit))
        return (str(rows[0]["state"]) if rows else None), [row for row in rows if row["id"] is not None]


def insert_event(connection: Connection, run_id: str, kind: str, data: Mapping[str, Any]) -> int:
    """Insert one event of a run and return its number.

    Raises
    ------
    CatalogueError
        No such run.
    """
    # Holding the run's row makes numbers appear in order: a reader past 7 will never be shown a late 6.
    if connection.execute(select(runs.c.id).where(runs.c.id == run_id).with_for_update()).scalar() is None:
        raise CatalogueError(f"there is no run {run_id}")
    statement = insert(events).values(run_id=run_id, time=time.time(), kind=kind, data=dict(data))
    return int(connection.execute(statement.returning(events.c.id)).scalar_one())
