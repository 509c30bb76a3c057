"""The steps of runs that have ended, as short digests, and what they were found from."""

from collections.abc import Sequence

from sqlalchemy import delete, insert, select

from storage.catalogue.database import Database, Row
from storage.catalogue.schema import run_steps, runs


class RunStepTable:
    """Steps of runs; rows go with their run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, rows: Sequence[Row]) -> None:
        """Write down the steps of runs, in place of what was known of them; runs that are gone are passed over.

        Parameters
        ----------
        rows : sequence of dict
            ``run_id, basis, needed, past``.
        """
        ids = [row["run_id"] for row in rows]
        with self._database.write() as connection:
            there = set(connection.execute(select(runs.c.id).where(runs.c.id.in_(ids)).with_for_update(read=True)).scalars())
            connection.execute(delete(run_steps).where(run_steps.c.run_id.in_(ids)))
            kept = [row for row in rows if row["run_id"] in there]
            if kept:
                connection.execute(insert(run_steps), kept)

    def rows(self) -> list[Row]:
        """What is known of all runs."""
        return self._database.rows(select(run_steps))
