"""What datasets and runs there are, and what happened to them: SQLite by default, PostgreSQL by URL.

Rows go in and out as plain dictionaries whose keys are the columns; times are seconds since 1970.
"""

import secrets

from storage.catalogue.database import Database
from storage.catalogue.datasets import DatasetTable
from storage.catalogue.events import EventTable
from storage.catalogue.run_steps import RunStepTable
from storage.catalogue.runs import RunTable


class Catalogue:
    """Datasets, runs, events and idempotency keys; may be used from any number of threads and processes.

    Parameters
    ----------
    url : str
        ``sqlite:////path/to/file`` or ``postgresql+psycopg://...``.

    Attributes
    ----------
    datasets : DatasetTable
    runs : RunTable
    run_steps : RunStepTable
    events : EventTable

    Raises
    ------
    CatalogueError
        The catalogue was made by a newer version, or is SQLite on a network file system.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self.datasets = DatasetTable(self._database)
        self.runs = RunTable(self._database)
        self.run_steps = RunStepTable(self._database)
        self.events = EventTable(self._database)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def is_ready(self) -> bool:
        """Whether the database answers."""
        return self._database.is_ready()


def new_id(prefix: str) -> str:
    """Return an unguessable name: ``prefix`` and 16 hexadecimal digits."""
    return f"{prefix}_{secrets.token_hex(8)}"
