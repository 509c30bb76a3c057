"""Which finished steps the runs that have ended refer to, kept in the catalogue: building all their graphs takes minutes.

What is kept holds for one version of the program and of the run's datasets. Where either is another one, or a dataset is open or
damaged, it does not hold, and who asks has to build the graph.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.records.run_inputs import RunInputReader
from service.records.views import ENDED
from service.versions import code_digest
from service.workflow.inputs import RunInput
from service.workflow.step import digest
from storage.catalogue.catalogue import Catalogue
from storage.catalogue.database import Row

N_BYTES: Final = 8
"""Bytes that are kept of a key: two keys that agree in them keep each other's steps, and nothing else goes wrong."""


@dataclass(frozen=True)
class RunSteps:
    """Steps of a run, as `short_keys` has them.

    Attributes
    ----------
    needed : bytes
        Steps that the run needs as long as it is in the catalogue.
    past : bytes
        Further steps, which it needs unless it has succeeded.
    """

    needed: bytes = b""
    past: bytes = b""

    @classmethod
    def of(cls, keys: Collection[str], past: Collection[str]) -> "RunSteps":
        """The steps of a run from the keys of all, and of those that it leaves behind when it succeeds."""
        return cls(short_keys(set(keys).difference(past)), short_keys(past))

    def needed_in(self, state: str) -> bytes:
        """Steps that the run needs while it is in a state."""
        return self.needed if state == "succeeded" else self.needed + self.past


class RunStepRepository:
    """Steps of runs; may be used from any number of threads.

    Parameters
    ----------
    catalogue : Catalogue
    inputs : RunInputReader
    """

    def __init__(self, catalogue: Catalogue, inputs: RunInputReader) -> None:
        self._table = catalogue.run_steps
        self._datasets = catalogue.datasets
        self._inputs = inputs

    def note(self, run_id: str, inputs: Sequence[RunInput], steps: RunSteps) -> None:
        """Write down the steps of a run that has ended, unless its datasets are not the ``inputs`` its graph was built from.

        Raises
        ------
        NotFoundError, InvalidInputError
            A dataset is gone, or is damaged.
        """
        names = [one.id for one in inputs]
        basis = self.bases([{"id": run_id, "datasets": names}]).get(run_id)  # before the inputs are read: a change comes later
        if basis is not None and self._inputs.read_known(names) == list(inputs):
            self.put({run_id: (basis, steps)})

    def put(self, found: Mapping[str, tuple[str, RunSteps]]) -> None:
        """Write down the basis and the steps of each run."""
        rows = [{"run_id": name, "basis": basis, **vars(steps)} for name, (basis, steps) in found.items()]
        self._table.put(rows)

    def bases(self, runs: Iterable[Row]) -> dict[str, str]:
        """What the steps of each run are found from, as a digest; only of runs whose datasets are all sealed and whole."""
        versions = self._datasets.sealed_versions()
        found = {}
        for run in runs:
            names = run["datasets"] if isinstance(run["datasets"], list) else []
            of_datasets = [(name, versions[name]) for name in names if isinstance(name, str) and name in versions]
            if names and len(of_datasets) == len(names):
                found[run["id"]] = digest([code_digest(), *of_datasets])
        return found

    def known(self, runs: Iterable[Row], bases: Mapping[str, str]) -> dict[str, RunSteps]:
        """Steps of those runs that have ended and of which what is kept was found from their basis."""
        kept = {row["run_id"]: row for row in self._table.rows()}
        found = {}
        for run in runs:
            row = kept.get(run["id"])
            if row is not None and run["state"] in ENDED and row["basis"] == bases.get(run["id"]):
                found[run["id"]] = RunSteps(bytes(row["needed"]), bytes(row["past"]))
        return found


def short_keys(keys: Iterable[str]) -> bytes:
    """The first `N_BYTES` of a digest of each key, one after another."""
    return b"".join(hashlib.blake2b(key.encode(), digest_size=N_BYTES).digest() for key in keys)


def numbers(short: Iterable[bytes]) -> NDArray[np.uint64]:
    """Every short key of these as a number, in their order."""
    return np.frombuffer(b"".join(short), np.uint64)
