"""What one project may use: stored bytes, runs at the same time, and the size of a run; and what the disk has room for."""

import math
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from service.errors import FieldError, QuotaError, StorageFullError, TooCostlyError, TooManyRunsError
from service.settings import Settings
from service.workflow.inputs import RunInput, ScanInput
from tasks.options.reconstruct import ReconstructOptions
from tasks.options.run import RunOptions

COUPLED_PIXEL: Final = 33
"""Pixels of frames, visited once, that take the time of one pixel of an energy's canvas when energies are coupled."""
CYCLES_A_CORRECTION: Final = 2
"""Cycles that take the time of one correction of positions and flux."""


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
        ceiling = self._settings.max_run_cost
        if ceiling is None or (cost := run_cost(datasets, options)) <= ceiling:
            return
        scans = [scan for dataset in datasets for scan in dataset.scans]
        n_frames = sum(scan.n_positions for scan in scans)
        message = (
            f"{options.reconstruct.expected_cycles} cycles x {n_frames} frames x {max(scan.n_pixels for scan in scans)}^2 pixels"
            f"{additions(options)} cost {cost:.3g}; a run may cost {ceiling:.3g} (max_run_cost): take fewer cycles, energies or "
            "datasets, or leave out what adds to them"
        )
        raise TooCostlyError.of(FieldError("options.reconstruct.cycles", message))


class Arrival:
    """One upload on its way."""

    def __init__(self, limits: Limits, project: str | None, n_stored: int) -> None:
        self._limits, self._project, self._n_stored = limits, project, n_stored
        self.n_bytes = 0

    def take(self, n_bytes: int) -> None:
        """Count bytes that have arrived; raises QuotaError where they are too many."""
        self.n_bytes += n_bytes
        self._limits.take(self._project, n_bytes, self._n_stored)


def check_free_disk(settings: Settings) -> None:
    """Refuse what needs room when too little of the disk is free.

    Raises
    ------
    StorageFullError
    """
    if shutil.disk_usage(settings.data_dir).free < settings.min_free_bytes:
        raise StorageFullError(f"less than {settings.min_free_bytes} bytes of disk are free")


def run_cost(datasets: Sequence[RunInput], options: RunOptions) -> float:
    """Cycles x frames x pixels of a run, which its time on given machines is proportional to.

    Counted are the cycles of all rounds with the modes of the probe, corrections of positions and flux, the pilot of each
    dataset, and the couplings between rounds. ``auto`` counts as the cycles that most energies take, and as one mode.
    """
    reconstruct = options.reconstruct
    n_modes = 1 if reconstruct.probe_modes == "auto" else reconstruct.probe_modes
    n_cycles, pilot = n_modes * equivalent_cycles(reconstruct, reconstruct.expected_cycles), 0.0
    if reconstruct.start_from == "pilot":
        pilot = n_modes * equivalent_cycles(reconstruct, reconstruct.pilot_cycles)
    n_couplings = len(options.rounds()) - 1
    datasets = [dataset.without(options.align.leave_out_ev) for dataset in datasets]
    return sum(
        n_cycles * sum(frame_pixels(scan) for scan in dataset.scans)
        + pilot * sum(frame_pixels(scan) for scan in dataset.scans[:1])
        + n_couplings * COUPLED_PIXEL * sum(math.prod(scan.canvas.shape) for scan in dataset.scans)
        for dataset in datasets
    )


def equivalent_cycles(options: ReconstructOptions, n_cycles: int) -> float:
    """Cycles of plain reconstruction that take the time of ``n_cycles`` with corrections of positions and flux."""
    if (options.position_refinement == "none" and not options.frame_flux) or n_cycles <= options.refine_start:
        return n_cycles
    return n_cycles + CYCLES_A_CORRECTION * math.ceil((n_cycles - options.refine_start) / options.refine_every)


def frame_pixels(scan: ScanInput) -> int:
    """Pixels of all frames of a scan."""
    return scan.n_positions * scan.n_pixels**2


def additions(options: RunOptions) -> str:
    """What adds to the cost of the bare cycles, in words."""
    reconstruct, n_couplings = options.reconstruct, len(options.rounds()) - 1
    found = [
        (reconstruct.probe_modes not in ("auto", 1), f"{reconstruct.probe_modes} probe modes"),
        (reconstruct.position_refinement != "none" or reconstruct.frame_flux, "corrections of positions or flux"),
        (reconstruct.start_from == "pilot", f"a pilot of {reconstruct.pilot_cycles} cycles"),
        (n_couplings > 0, f"{n_couplings} couplings"),
    ]
    named = ", ".join(text for is_there, text in found if is_there)
    return f" with {named}" if named else ""
