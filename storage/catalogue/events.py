"""Events of runs, numbered in the order in which they can be seen."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select

from storage.catalogue.database import Database, Row
from storage.catalogue.schema import events, runs
from storage.errors import CatalogueError

LOCKED_RUN: Final = select(runs.c.id).where(runs.c.id == bindparam("run_id")).with_for_update()
INSERTED: Final = insert(events).returning(events.c.id)


@dataclass(frozen=True)
class NewEvent:
    """Something that happened to a run, to be written down: its kind, its data, and when it happened [s since 1970]."""

    kind: str
    data: Mapping[str, Any]
    time: float = field(default_factory=time.time)


class EventTable:
    """What happened to each run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run_id: str, told: Sequence[NewEvent]) -> list[int]:
        """Add events to a run in one transaction; their numbers, which ascend in the order in which events can be seen.

        Raises
        ------
        CatalogueError
            No such run.
        """
        with self._database.write() as connection:
            return insert_events(connection, run_id, told)

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


def insert_events(connection: Connection, run_id: str, told: Sequence[NewEvent]) -> list[int]:
    """Insert events of a run and return their numbers.

    Raises
    ------
    CatalogueError
        No such run.
    """
    # Holding the run's row makes numbers appear in order: a reader past 7 will never be shown a late 6.
    if connection.execute(LOCKED_RUN, {"run_id": run_id}).scalar() is None:
        raise CatalogueError(f"there is no run {run_id}")
    rows = [{"run_id": run_id, "time": event.time, "kind": event.kind, "data": dict(event.data)} for event in told]
    return [int(connection.execute(INSERTED, row).scalar_one()) for row in rows]
