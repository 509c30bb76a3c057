"""Runs as the catalogue keeps them: what was asked for, how far each is, and which request an idempotency key stands for."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from storage.catalogue.database import Database, Row
from storage.catalogue.events import NewEvent, insert_events
from storage.catalogue.paging import PageKey, contains, page_of
from storage.catalogue.schema import events, idempotency, run_datasets, runs
from storage.errors import CatalogueError, RowExistsError


@dataclass(frozen=True)
class RunFilter:
    """Which runs are asked for; None does not restrict.

    Attributes
    ----------
    text : str
        Part of the name or of the id, in any case.
    states : collection of str
        Any of these.
    dataset : str
        A dataset that the run is on.
    since, until : float
        Earliest moment of creation, and the first that is too late [s since 1970].
    """

    text: str | None = None
    states: Collection[str] | None = None
    dataset: str | None = None
    since: float | None = None
    until: float | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The filter in SQL."""
        wanted: list[ColumnElement[bool]] = []
        if self.text:
            places = (runs.c.name, runs.c.id)
            wanted.append(or_(*(place.ilike(contains(self.text), escape="\\") for place in places)))
        if self.states is not None:
            wanted.append(runs.c.state.in_(list(self.states)))
        if self.dataset is not None:
            wanted.append(runs.c.id.in_(select(run_datasets.c.run_id).where(run_datasets.c.dataset_id == self.dataset)))
        if self.since is not None:
            wanted.append(runs.c.created >= self.since)
        if self.until is not None:
            wanted.append(runs.c.created < self.until)
        return wanted


EVERY_RUN: Final = RunFilter()


RUN: Final = select(runs).where(runs.c.id == bindparam("id"))
"""Made once, because SQLAlchemy takes longer to make and recognise a query than SQLite to answer it."""
RUN_OF: Final = RUN.where(runs.c.project == bindparam("project"))


class RunTable:
    """Runs and idempotency keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        run_id: str,
        name: str,
        state: str,
        dataset_ids: Collection[str],
        options: Mapping[str, Any],
        project: str = "default",
        first_event: tuple[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Add a run and, in the same transaction, the kind and the data of its first event.

        Raises
        ------
        RowExistsError
            A run of that name is there already.
        """
        now = time.time()
        row = {
            "id": run_id, "project": project, "name": name, "state": state, "datasets": list(dataset_ids),
            "options": dict(options), "stages": [], "progress": 0.0, "created": now, "updated": now,
        }  # fmt: skip
        links = [{"run_id": run_id, "dataset_id": dataset_id} for dataset_id in dict.fromkeys(dataset_ids)]
        try:
            with self._database.write() as connection:
                connection.execute(insert(runs).values(row))
                if links:
                    connection.execute(insert(run_datasets), links)
                if first_event is not None:
                    insert_events(connection, run_id, [NewEvent(*first_event)])
        except IntegrityError as error:
            raise RowExistsError(f"there is a run {run_id} already") from error

    def get(self, run_id: str, project: str | None = None) -> Row | None:
        """A run, or None; also None where it is another project's."""
        found = (
            self._database.rows(RUN, id=run_id) if project is None else self._database.rows(RUN_OF, id=run_id, project=project)
        )
        return next(iter(found), None)

    def page(
        self,
        project: str | None = None,
        matching: RunFilter = EVERY_RUN,
        after: PageKey | None = None,
        limit: int | None = None,
    ) -> list[Row]:
        """Runs of a project, or of all, newest first."""
        query = select(runs).where(*matching.conditions())
        if project is not None:
            query = query.where(runs.c.project == project)
        return self._database.rows(page_of(query, runs, after, limit))

    def update(self, run_id: str, told: Sequence[NewEvent] = (), **fields: Any) -> list[int]:
        """Change columns of a run and, in the same transaction, add events, whose numbers are returned.

        Raises
        ------
        CatalogueError
            There is no such run.
        """
        statement = update(runs).where(runs.c.id == run_id).values({**fields, "updated": time.time()})
        with self._database.write() as connection:
            if not connection.execute(statement).rowcount:
                raise CatalogueError(f"there is no run {run_id}")
            return insert_events(connection, run_id, told) if told else []

    def change_state(self, run_id: str, before: Collection[str], state: str, **fields: Any) -> bool:
        """Move a run from one of ``before`` to ``state`` and add the event that says so; of two at once, one gets True."""
        statement = (
            update(runs)
            .where(runs.c.id == run_id, runs.c.state.in_(list(before)))
            .values(state=state, updated=time.time(), **fields)
        )
        told = {"state": state} | ({"error": fields["error"]} if fields.get("finished") else {})
        with self._database.write() as connection:
            has_moved = bool(connection.execute(statement).rowcount)
            if has_moved:
                insert_events(connection, run_id, [NewEvent("state", told)])
        return has_moved

    def count(self, project: str | None = None, matching: RunFilter = EVERY_RUN) -> int:
        """Number of runs."""
        query = select(func.count().label("n")).select_from(runs).where(*matching.conditions())
        if project is not None:
            query = query.where(runs.c.project == project)
        return int(self._database.rows(query)[0]["n"])

    def count_by_state(self) -> dict[str, int]:
        """Number of runs in each state there is."""
        rows = self._database.rows(select(runs.c.state, func.count().label("n")).group_by(runs.c.state))
        return {row["state"]: row["n"] for row in rows}

    def delete(self, run_id: str) -> None:
        """Forget a run and its events; one that is not there is no error."""
        with self._database.write() as connection:
            connection.execute(delete(events).where(events.c.run_id == run_id))
            connection.execute(delete(idempotency).where(idempotency.c.run_id == run_id))
            connection.execute(delete(runs).where(runs.c.id == run_id))

    def claim(self, key: str, body_digest: str, run_id: str, project: str = "default") -> Row:
        """Bind an idempotency key to a request, once.

        Returns
        -------
        dict
            ``run_id`` and ``body_digest`` of whoever came first: this one, or an earlier request with the same key.
        """
        row = {"project": project, "key": key, "body_digest": body_digest, "run_id": run_id, "created": time.time()}
        try:
            with self._database.write() as connection:
                connection.execute(insert(idempotency).values(row))
        except IntegrityError:
            mine = (idempotency.c.project == project) & (idempotency.c.key == key)
            return self._database.rows(select(idempotency).where(mine))[0]
        return row
