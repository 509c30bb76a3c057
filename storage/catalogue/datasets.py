"""Datasets and their scans as the catalogue knows them: attributes that lists, searches and plans need without opening a store.

The stores are the truth; `service.records.dataset_repository` keeps these tables in step with them.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update

from storage.catalogue.database import Database, Row
from storage.catalogue.paging import PageKey, contains, page_of
from storage.catalogue.schema import dataset_labels, datasets, scans

SCANS_A_STATEMENT: Final = 1000
"""Rows inserted, or names looked for, by one statement: databases limit its parameters."""


@dataclass(frozen=True)
class DatasetFilter:
    """Which datasets are asked for; None does not restrict.

    Attributes
    ----------
    text : str
        Part of the title, of the sample's name or group, or of the id, in any case.
    element, group, state, label : str
        As they are.
    since, until : float
        Earliest moment of creation, and the first that is too late [s since 1970].
    """

    text: str | None = None
    element: str | None = None
    group: str | None = None
    state: str | None = None
    label: str | None = None
    since: float | None = None
    until: float | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The filter in SQL."""
        column = datasets.c
        wanted: list[ColumnElement[bool]] = [
            stored == given
            for stored, given in ((column.element, self.element), (column.sample_group, self.group), (column.state, self.state))
            if given is not None
        ]
        if self.text:
            places = (column.title, column.sample_name, column.sample_group, column.id)
            wanted.append(or_(*(place.ilike(contains(self.text), escape="\\") for place in places)))
        if self.label is not None:
            labelled = select(dataset_labels.c.dataset_id).where(dataset_labels.c.label == self.label)
            wanted.append(column.id.in_(labelled))
        if self.since is not None:
            wanted.append(column.created >= self.since)
        if self.until is not None:
            wanted.append(column.created < self.until)
        return wanted


EVERY_DATASET: Final = DatasetFilter()


class DatasetTable:
    """Datasets, scans and labels."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, row: Mapping[str, Any], of_scans: Sequence[Mapping[str, Any]] = (), labels: Collection[str] = ()) -> None:
        """Write a dataset down with all of its scans and labels, in place of what was known of it.

        Parameters
        ----------
        row : mapping
            Every column but ``n_scans`` and ``n_bytes``, which follow from the scans.
        of_scans : sequence of mappings
            Every column of the scans but ``dataset_id``.
        labels : collection of str
        """
        dataset_id = row["id"]
        counted = {"n_scans": len(of_scans), "n_bytes": sum(scan["n_bytes"] for scan in of_scans)}
        with self._database.write() as connection:
            connection.execute(delete(datasets).where(datasets.c.id == dataset_id))
            connection.execute(insert(datasets).values({**row, **counted}))
            insert_scans(connection, dataset_id, of_scans)
            if labels:
                rows = [{"dataset_id": dataset_id, "label": label} for label in sorted(set(labels))]
                connection.execute(insert(dataset_labels), rows)

    def add_scans(self, dataset_id: str, of_scans: Sequence[Mapping[str, Any]]) -> bool:
        """Add scans to a dataset, or replace those of their names; False where the dataset is not known."""
        names = [scan["name"] for scan in of_scans]
        mine = scans.c.dataset_id == dataset_id
        with self._database.write() as connection:
            if connection.execute(select(datasets.c.id).where(datasets.c.id == dataset_id)).scalar() is None:
                return False
            connection.execute(delete(scans).where(mine, scans.c.name.in_(names)))
            insert_scans(connection, dataset_id, of_scans)
            n_scans, n_bytes = connection.execute(select(func.count(), func.sum(scans.c.n_bytes)).where(mine)).one()
            counted = {"n_scans": n_scans, "n_bytes": int(n_bytes or 0)}
            connection.execute(update(datasets).where(datasets.c.id == dataset_id).values(counted))
        return True

    def delete(self, dataset_id: str) -> None:
        """Forget a dataset; one that is not there is no error."""
        with self._database.write() as connection:
            connection.execute(delete(datasets).where(datasets.c.id == dataset_id))

    def get(self, dataset_id: str, project: str | None = None) -> Row | None:
        """A dataset, or None; also None where it is another project's."""
        query = select(datasets).where(datasets.c.id == dataset_id)
        if project is not None:
            query = query.where(datasets.c.project == project)
        return next(iter(self._database.rows(query)), None)

    def page(
        self,
        project: str | None = None,
        matching: DatasetFilter = EVERY_DATASET,
        after: PageKey | None = None,
        limit: int | None = None,
    ) -> list[Row]:
        """Datasets of a project, or of all, newest first."""
        query = select(datasets).where(*matching.conditions())
        if project is not None:
            query = query.where(datasets.c.project == project)
        return self._database.rows(page_of(query, datasets, after, limit))

    def scans(self, dataset_ids: Sequence[str]) -> dict[str, list[Row]]:
        """Scans of each dataset, by ascending energy."""
        found: dict[str, list[Row]] = {dataset_id: [] for dataset_id in dataset_ids}
        for first in range(0, len(dataset_ids), SCANS_A_STATEMENT):
            wanted = scans.c.dataset_id.in_(dataset_ids[first : first + SCANS_A_STATEMENT])
            for row in self._database.rows(select(scans).where(wanted).order_by(scans.c.energy_ev, scans.c.name)):
                found[row.pop("dataset_id")].append(row)
        return found

    def totals(self, project: str | None = None) -> tuple[int, int]:
        """Number of datasets and bytes of their scans, of a project or of all."""
        query = select(func.count().label("n"), func.sum(datasets.c.n_bytes).label("n_bytes"))
        if project is not None:
            query = query.where(datasets.c.project == project)
        (row,) = self._database.rows(query)
        return int(row["n"]), int(row["n_bytes"] or 0)

    def stamps(self) -> dict[str, tuple[str, int]]:
        """What every dataset was last seen as: its stamp and its number of scans."""
        rows = self._database.rows(select(datasets.c.id, datasets.c.stamp, datasets.c.n_scans))
        return {row["id"]: (row["stamp"], row["n_scans"]) for row in rows}

    def sealed_versions(self) -> dict[str, str]:
        """What every sealed and undamaged dataset was last read as: a text that is another one once it is read anew."""
        columns = datasets.c.id, datasets.c.stamp, datasets.c.n_scans, datasets.c.updated
        rows = self._database.rows(select(*columns).where(datasets.c.state == "sealed"))
        return {row["id"]: f"{row['stamp']} {row['n_scans']} {row['updated']!r}" for row in rows}


def insert_scans(connection: Connection, dataset_id: str, of_scans: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows of a dataset's scans."""
    for first in range(0, len(of_scans), SCANS_A_STATEMENT):
        rows = [{"dataset_id": dataset_id, **scan} for scan in of_scans[first : first + SCANS_A_STATEMENT]]
        connection.execute(insert(scans), rows)
