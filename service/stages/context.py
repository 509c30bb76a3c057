"""What a step may use while it runs: folders, the results of earlier steps, and a way to report its progress."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from service.settings import DataPaths
from service.workflow.step import Step, StepAttributes, StepRef
from storage.artifacts import ArtifactStore
from storage.datasets.store import DatasetStore
from storage.errors import ArtifactMissingError, LayoutError
from storage.layout import ArraySpec
from tasks.errors import CancelledError

REPORT_S: Final = 0.5
"""Shortest time between two reports of a step's progress."""
CANCEL_CHECK_S: Final = 0.2
"""Shortest time between two questions whether the step is cancelled: cycles of small frames take milliseconds."""

GIVEN_UP_CHECK_S: Final = 0.02
"""Time between two questions whether a step that failed was given up."""

Report = Callable[[dict[str, Any]], None]
"""Receives the progress of running work, one small JSON-able dictionary at a time."""
IsCancelled = Callable[[], bool]
"""Whether the result of running work is no longer wanted, so that the work should stop."""


@dataclass(frozen=True)
class StepRequest:
    """One step to be computed on behalf of one run."""

    run_id: str
    step: Step
    paths: DataPaths


def never() -> bool:
    """Answer of work that nobody can cancel."""
    return False


class StageContext:
    """Gives a running step its inputs, stores its results and reports its progress.

    Parameters
    ----------
    request : StepRequest
    report : callable
        Receives the progress.
    is_cancelled : callable
        Whether the step should stop.

    Attributes
    ----------
    storage_s : float
        Time spent reading and writing arrays so far [s], a part of ``seconds``.
    """

    def __init__(self, request: StepRequest, report: Report, is_cancelled: IsCancelled = never) -> None:
        self.request = request
        self.storage_s = 0.0
        self.datasets = DatasetStore(request.paths.datasets)
        self.artifacts = ArtifactStore(request.paths.artifacts)
        self._report = report
        self._is_cancelled = is_cancelled
        self._began = time.monotonic()
        self._reported = self._checked = 0.0

    @property
    def paths(self) -> DataPaths:
        """Folders of datasets, finished steps and runs."""
        return self.request.paths

    @property
    def seconds(self) -> float:
        """Time since the step began [s]."""
        return time.monotonic() - self._began

    def read(self, step: StepRef[Step], *names: str) -> dict[str, NDArray[Any]]:
        """Arrays of a finished step: those named, or all.

        Raises
        ------
        ArtifactMissingError
        """
        with self._storing():
            return self.artifacts.read(step.key, *names)

    def attributes(self, step: StepRef[Step]) -> StepAttributes:
        """Attributes of a finished step.

        Raises
        ------
        ArtifactMissingError
        """
        return self.artifacts.attrs(step.key)

    def read_scan(self, dataset: str, scan: str, orientation: int = 0) -> dict[str, Any]:
        """One energy's measurement, as `storage.datasets.store.DatasetStore.read_scan` returns it."""
        with self._storing():
            return self.datasets.read_scan(dataset, scan, orientation=orientation)

    def read_image(self, dataset: str, scan: str) -> dict[str, NDArray[Any]]:
        """One energy's image, as `storage.datasets.store.DatasetStore.read_image` returns it."""
        with self._storing():
            return self.datasets.read_image(dataset, scan)

    def write(self, arrays: Mapping[str, NDArray[Any]], *, warnings: Sequence[str] = (), **attributes: Any) -> StepAttributes:
        """Store the arrays of the running step, with its attributes, its warnings and the time it took.

        Returns
        -------
        dict
            The attributes and the warnings.

        Raises
        ------
        LayoutError
            The stage has not declared such an array.
        """
        step = self.request.step
        check_arrays(step.arrays, arrays)
        found = {**attributes, "warnings": list(warnings)}
        provenance = {"stage": step.stage, "step": step.name, "inputs": list(step.inputs), "seconds": self.seconds}
        with self._storing():
            self.artifacts.write(step.key, dict(arrays), {**provenance, **found})
        return found

    def report_cycle(self, cycle: int, n_cycles: int, error: float) -> None:
        """Report a finished cycle, no more often than `REPORT_S`.

        Raises
        ------
        CancelledError
            No run wants the result any more.
        """
        now = time.monotonic()
        if now - self._checked > CANCEL_CHECK_S:
            self._checked = now
            self.check_stop()
        if now - self._reported > REPORT_S:
            self._reported = now
            about = {"run_id": self.request.run_id, "unit": self.request.step.name}
            self._report({**about, "cycle": cycle, "n_cycles": n_cycles, "error": error})

    def check_stop(self) -> None:
        """Raise CancelledError where no run wants the result any more."""
        if self._is_cancelled():
            raise CancelledError(f"{self.request.step.name} is no longer wanted: its run was cancelled, or has failed")

    def is_given_up(self, within_s: float) -> bool:
        """Whether no run wants the result any more, or that is heard within some seconds: the word of it takes its time."""
        until = time.monotonic() + within_s
        while not (is_given_up := self._is_cancelled()) and time.monotonic() < until:
            time.sleep(GIVEN_UP_CHECK_S)
        return is_given_up

    @contextmanager
    def _storing(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.storage_s += time.monotonic() - began


def check_arrays(specs: Iterable[ArraySpec], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Refuse arrays that ``specs`` does not declare, of another shape or dtype, or along dimensions that disagree.

    A spec whose name holds a placeholder, such as ``label{dataset}``, declares any number of arrays, and each of them has
    an extent of its own.

    Raises
    ------
    LayoutError
    """
    declared = {spec.name: spec for spec in specs}
    patterns = [(re.compile(re.sub(r"\{\w+\}", r"[\\w.-]+", name)), spec) for name, spec in declared.items() if "{" in name]
    extents: dict[str, int] = {}
    for name, values in arrays.items():
        spec = declared.get(name) or next((spec for pattern, spec in patterns if pattern.fullmatch(name)), None)
        if spec is None:
            raise LayoutError(f"the stage may store {sorted(declared)}, got {name!r}: is it missing from the stage's arrays?")
        spec.check(values.shape, values.dtype)
        for dim, n in zip(spec.dims, values.shape, strict=True) if "{" not in spec.name else ():
            if extents.setdefault(dim, n) != n:
                raise LayoutError(f"{name} has {n} along {dim}, other arrays of the step have {extents[dim]}")


def stored_warnings(artifacts: ArtifactStore, step: Step) -> Sequence[str]:
    """Warnings of a finished step; none where it is gone, because nothing needs it any more."""
    try:
        return list(artifacts.attrs(step.key).get("warnings", ()))
    except ArtifactMissingError:
        return ()
