"""What one project may use: stored bytes, runs at the same time, and the size of a run."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from service.errors import FieldError, QuotaError, TooCostlyError, TooManyRunsError
from service.settings import Settings
from service.workflow.inputs import RunInput
from tasks.options import RunOptions


class Limits:
    """The limits of ``settings``, each none where not set."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._arriving: Counter[str | None] = Counter()
        self._guard = threading.Lock()

    @property
    def counts_bytes(self) -> bool:
        """Whether there is a limit to the bytes of a project."""
        return self._settings.max_project_bytes is not None

    @contextmanager
    def arrival(self, project: str | None, n_stored: int) -> Iterator["Arrival"]:
        """Count an upload's bytes while it arrives, together with those of others arriving in the same project."""
        arrival = Arrival(self, project, n_stored)
        try:
            yield arrival
        finally:
            with self._guard:
                self._arriving[project] -= arrival.n_bytes

    def take(self, project: str | None, n_bytes: int, n_stored: int) -> None:
        """Count bytes that have arrived.

        Raises
        ------
        QuotaError
            They are more than the project may store.
        """
        with self._guard:
            self._arriving[project] += n_bytes
            n_total = n_stored + self._arriving[project]
        ceiling = self._settings.max_project_bytes
        if ceiling is not None and n_total > ceiling:
            raise QuotaError(
                f"the project would store {n_total} bytes; it may store {ceiling} (max_project_bytes), of which {n_stored} "
                "are taken: delete datasets that are no longer needed, or ask whoever runs the service"
            )

    def check_runs(self, n_unfinished: int) -> None:
        """Refuse one more run.

        Raises
        ------
        TooManyRunsError
        """
        ceiling = self._settings.max_unfinished_runs
        if ceiling is not None and n_unfinished >= ceiling:
            raise TooManyRunsError(
                f"{n_unfinished} runs of the project are queued or running; it may have {ceiling} (max_unfinished_runs): "
                "wait for one to end, or cancel one"
            )

    def check_cost(self, datasets: Sequence[RunInput], options: RunOptions) -> None:
        """Refuse a run beyond the size allowed, as far as its scans have arrived.

        Raises
        ------
        TooCostlyError
        """
        ceiling, cost = self._settings.max_run_cost, run_cost(datasets, options)
        if ceiling is None or cost <= ceiling:
            return
        scans = [scan for dataset in datasets for scan in dataset.scans]
        n_frames = sum(scan.n_positions for scan in scans)
        message = (
            f"{options.reconstruct.expected_cycles} cycles x {n_frames} frames x {max(scan.n_pixels for scan in scans)}^2 pixels "
            f"cost {cost:.3g}; a run may cost {ceiling:.3g} (max_run_cost): take fewer cycles, energies or datasets"
        )
        raise TooCostlyError(message, [FieldError("options.reconstruct.cycles", message)])


class Arrival:
    """One upload on its way."""

    def __init__(self, limits: Limits, project: str | None, n_stored: int) -> None:
        self._limits, self._project, self._n_stored = limits, project, n_stored
        self.n_bytes = 0

    def take(self, n_bytes: int) -> None:
        """Count bytes that have arrived; raises QuotaError where they are too many."""
        self.n_bytes += n_bytes
        self._limits.take(self._project, n_bytes, self._n_stored)


def run_cost(datasets: Sequence[RunInput], options: RunOptions) -> int:
    """Cycles x frames x pixels of a run: what its time on given machines is proportional to."""
    scans = (scan for dataset in datasets for scan in dataset.scans)
    return options.reconstruct.expected_cycles * sum(scan.n_positions * scan.n_pixels**2 for scan in scans)
