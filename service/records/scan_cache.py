"""Scans of the datasets that were looked at last, so that lists need not read them from the catalogue again and again."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, TypeAlias

from storage.datasets.scans import ScanInfo

MAX_SCANS: Final = 20_000
"""Scans that are kept: some 30 MB, or the newest 500 datasets of 40 energies."""

StampedScans: TypeAlias = Mapping[str, tuple[str, ScanInfo]]
"""Scans by their names, each with the stamp that its descriptions had when it was read (`DatasetStore.scan_stamps`)."""


class ScanCache:
    """Scans by dataset; may be used from any number of threads.

    Parameters
    ----------
    max_scans : int
        The datasets that were not asked for longest are dropped beyond so many scans.
    """

    def __init__(self, max_scans: int = MAX_SCANS) -> None:
        self._max_scans = max_scans
        self._datasets: OrderedDict[str, StampedScans] = OrderedDict()
        self._n_scans = 0
        self._guard = threading.Lock()

    def get(self, dataset_id: str) -> StampedScans:
        """Scans of a dataset as they were last seen; none where they are not kept."""
        with self._guard:
            if dataset_id not in self._datasets:
                return {}
            self._datasets.move_to_end(dataset_id)
            return self._datasets[dataset_id]

    def put(self, dataset_id: str, scans: StampedScans) -> None:
        """Keep the scans of a dataset, in place of those that were kept."""
        with self._guard:
            self._keep(dataset_id, scans)

    def add(self, dataset_id: str, scans: StampedScans) -> None:
        """Keep more scans of a dataset, also in place of those of their names, unless none of it are kept."""
        with self._guard:
            if dataset_id in self._datasets:
                self._keep(dataset_id, {**self._datasets[dataset_id], **scans})

    def _keep(self, dataset_id: str, scans: StampedScans) -> None:
        self._n_scans += len(scans) - len(self._datasets.pop(dataset_id, ()))
        self._datasets[dataset_id] = scans
        while self._n_scans > self._max_scans and len(self._datasets) > 1:
            self._n_scans -= len(self._datasets.popitem(last=False)[1])


def in_step(scans: StampedScans, stamps: Mapping[str, str]) -> tuple[ScanInfo, ...] | None:
    """Scans by ascending energy; None unless they are exactly those that ``stamps`` were found of."""
    if {name: stamp for name, (stamp, _) in scans.items()} != stamps:
        return None
    return tuple(sorted((info for _, info in scans.values()), key=lambda info: (info.energy_ev, info.name)))
