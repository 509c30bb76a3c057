"""What datasets and runs there are, and what happened to them: SQLite by default, PostgreSQL by URL.

Rows go in and out as plain dictionaries whose keys are the columns; times are seconds since 1970.
"""

import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from storage.catalogue.database import connect
from storage.catalogue.schema import datasets, events, idempotency, runs
from storage.errors import CatalogueError

Row = dict[str, Any]

FINISHED = ("succeeded", "failed", "cancelled")
"""States of a run that is over."""


def new_id(prefix: str) -> str:
    """Return an unguessable name: ``prefix`` and 16 hexadecimal digits."""
    return f"{prefix}_{secrets.token_hex(8)}"


class Catalogue:
    """Datasets, runs, events and idempotency keys; may be used from any number of threads and processes.

    Parameters
    ----------
    url : str
        ``sqlite:////path/to/file`` or ``postgresql+psycopg://...``.

    Raises
    ------
    CatalogueError
        The catalogue was made by a newer version, or is SQLite on a network file system.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect(url)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def is_ready(self) -> bool:
        """Whether the database answers."""
        try:
            with self._read() as connection:
                connection.execute(select(1))
        except Exception:  # any failure of any driver means the same: not ready
            return False
        return True

    # Datasets ---------------------------------------------------------------------------------------------------------

    def create_dataset(self, dataset_id: str, spec: Mapping[str, Any], project: str = "default") -> Row:
        """Add an open dataset; ``spec`` is what its creator sent."""
        now = time.time()
        row = {
            "id": dataset_id,
            "project": project,
            "state": "open",
            "spec": dict(spec),
            "created": now,
            "updated": now,
        }
        return self._insert(datasets, row)

    def dataset(self, dataset_id: str, project: str | None = None) -> Row | None:
        """Return a dataset, or None; also None where it is another project's."""
        return self._one(datasets, dataset_id, project)

    def datasets(self, project: str | None = None, after: str | None = None, limit: int = 100) -> list[Row]:
        """Datasets, newest first, starting after the one called ``after``."""
        return self._page(datasets, project, after, limit)

    def update_dataset(self, dataset_id: str, **fields: Any) -> Row:
        """Change columns of a dataset."""
        return self._update(datasets, dataset_id, fields)

    def delete_dataset(self, dataset_id: str) -> None:
        """Forget a dataset; one that is not there is no error."""
        with self._write() as connection:
            connection.execute(delete(datasets).where(datasets.c.id == dataset_id))

    # Runs -------------------------------------------------------------------------------------------------------------

    def create_run(
        self,
        run_id: str,
        name: str,
        dataset_ids: Collection[str],
        options: Mapping[str, Any],
        project: str = "default",
        **fields: Any,
    ) -> Row:
        """Add a queued run; ``fields`` are further columns."""
        now = time.time()
        row = {
            "id": run_id, "project": project, "name": name, "state": "queued", "datasets": list(dataset_ids),
            "options": dict(options), "stages": [], "progress": 0.0, "created": now, "updated": now, **fields,
        }  # fmt: skip
        return self._insert(runs, row)

    def run(self, run_id: str, project: str | None = None) -> Row | None:
        """Return a run, or None; also None where it is another project's."""
        return self._one(runs, run_id, project)

    def runs(
        self,
        project: str | None = None,
        after: str | None = None,
        limit: int = 100,
        states: Collection[str] | None = None,
    ) -> list[Row]:
        """Runs, newest first, starting after the one called ``after``; of the given states only, where given."""
        return self._page(runs, project, after, limit, states)

    def runs_of_dataset(self, dataset_id: str) -> list[Row]:
        """All runs on a dataset, newest first."""
        return [row for row in self._page(runs, None, None, None) if dataset_id in row["datasets"]]

    def all_runs(self, project: str | None = None) -> list[Row]:
        """Every run, newest first."""
        return self._page(runs, project, None, None)

    def unfinished_runs(self) -> list[Row]:
        """Runs to go on with when the service starts, oldest first."""
        query = select(runs).where(runs.c.state.not_in(FINISHED)).order_by(runs.c.created, runs.c.id)
        with self._read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def update_run(self, run_id: str, **fields: Any) -> Row:
        """Change columns of a run."""
        return self._update(runs, run_id, fields)

    def change_run_state(self, run_id: str, before: Collection[str], state: str, **fields: Any) -> bool:
        """Move a run to ``state`` if it is in one of ``before``; of two that try at once, one gets True."""
        statement = (
            update(runs)
            .where(runs.c.id == run_id, runs.c.state.in_(list(before)))
            .values(state=state, updated=time.time(), **fields)
        )
        with self._write() as connection:
            return bool(connection.execute(statement).rowcount)

    def count_runs(self, states: Collection[str], project: str | None = None) -> int:
        """Number of runs in the given states."""
        query = select(func.count()).select_from(runs).where(runs.c.state.in_(list(states)))
        if project is not None:
            query = query.where(runs.c.project == project)
        with self._read() as connection:
            return int(connection.execute(query).scalar_one())

    def count_by_state(self) -> dict[str, int]:
        """Number of runs in each state there is."""
        query = select(runs.c.state, func.count()).group_by(runs.c.state)
        with self._read() as connection:
            return {str(state): int(count) for state, count in connection.execute(query)}

    def delete_run(self, run_id: str) -> None:
        """Forget a run and its events; one that is not there is no error."""
        with self._write() as connection:
            connection.execute(delete(events).where(events.c.run_id == run_id))
            connection.execute(delete(idempotency).where(idempotency.c.run_id == run_id))
            connection.execute(delete(runs).where(runs.c.id == run_id))

    # Events -----------------------------------------------------------------------------------------------------------

    def add_event(self, run_id: str, kind: str, data: Mapping[str, Any]) -> int:
        """Add an event to a run and return its number; numbers ascend in the order in which they can be seen.

        Raises
        ------
        CatalogueError
            No such run.
        """
        with self._write() as connection:
            # Holding the run's row makes numbers appear in order: a reader past 7 will never be shown a late 6.
            locked = connection.execute(select(runs.c.id).where(runs.c.id == run_id).with_for_update()).scalar()
            if locked is None:
                raise CatalogueError(f"there is no run {run_id}")
            statement = insert(events).values(run_id=run_id, time=time.time(), kind=kind, data=dict(data))
            return int(connection.execute(statement.returning(events.c.id)).scalar_one())

    def events_after(self, run_id: str, after: int = 0, limit: int = 1000, kind: str | None = None) -> list[Row]:
        """Events of a run numbered above ``after``, in order; of one kind, or of all."""
        wanted = (events.c.run_id == run_id, events.c.id > after, *(() if kind is None else (events.c.kind == kind,)))
        query = select(events).where(*wanted).order_by(events.c.id).limit(limit)
        with self._read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    # Idempotency ------------------------------------------------------------------------------------------------------

    def claim(self, key: str, body_digest: str, run_id: str, project: str = "default") -> Row:
        """Bind an idempotency key to a request, once.

        Returns
        -------
        dict
            ``run_id`` and ``body_digest`` of whoever came first: this one, or an earlier request with the same key.
        """
        row = {"project": project, "key": key, "body_digest": body_digest, "run_id": run_id, "created": time.time()}
        try:
            with self._write() as connection:
                connection.execute(insert(idempotency).values(row))
        except IntegrityError:
            mine = (idempotency.c.project == project) & (idempotency.c.key == key)
            with self._read() as connection:
                return dict(connection.execute(select(idempotency).where(mine)).mappings().one())
        return row

    # Statements -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(write=True) as connection, connection.begin():
            yield connection

    def _insert(self, table: Table, row: Row) -> Row:
        try:
            with self._write() as connection:
                return dict(connection.execute(insert(table).values(row).returning(table)).mappings().one())
        except IntegrityError as error:
            raise CatalogueError(f"{table.name} has a row {row['id']} already") from error

    def _one(self, table: Table, row_id: str, project: str | None) -> Row | None:
        query = select(table).where(table.c.id == row_id)
        if project is not None:
            query = query.where(table.c.project == project)
        with self._read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else dict(row)

    def _page(
        self,
        table: Table,
        project: str | None,
        after: str | None,
        limit: int | None,
        states: Collection[str] | None = None,
    ) -> list[Row]:
        query = select(table).order_by(table.c.created.desc(), table.c.id.desc()).limit(limit)
        if project is not None:
            query = query.where(table.c.project == project)
        if states is not None:
            query = query.where(table.c.state.in_(list(states)))
        with self._read() as connection:
            if after is not None:
                last = connection.execute(select(table.c.created, table.c.id).where(table.c.id == after)).one_or_none()
                if last is None:
                    raise CatalogueError(f"there is no row {after} in {table.name} to go on after")
                created, row_id = last
                query = query.where((table.c.created < created) | ((table.c.created == created) & (table.c.id < row_id)))
            return [dict(row) for row in connection.execute(query).mappings()]

    def _update(self, table: Table, row_id: str, fields: Row) -> Row:
        statement = update(table).where(table.c.id == row_id).values({**fields, "updated": time.time()})
        with self._write() as connection:
            row = connection.execute(statement.returning(table)).mappings().one_or_none()
        if row is None:
            raise CatalogueError(f"there is no row {row_id} in {table.name}")
        return dict(row)
