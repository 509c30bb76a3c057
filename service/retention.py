"""What on the disk nobody needs any more: found first, removed on demand.

Measurements and results of runs that are in the catalogue are never garbage, unless runs are given an age. Removing may
go on while the service works: a step that a new run had counted on is then computed again.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import ValidationError

from service.errors import InvalidInputError, NotFoundError
from service.records.dataset_repository import DatasetRepository
from service.records.run_inputs import RunInputReader
from service.records.run_steps import RunStepRepository, RunSteps, numbers, short_keys
from service.records.views import ENDED
from service.settings import DataPaths, Settings
from service.stages.pipeline import build_graph, past_rounds
from service.workflow.inputs import RunInput
from storage.artifacts import ArtifactStore
from storage.atomic import abandoned, discard, size_of, unmarked
from storage.catalogue.catalogue import Catalogue
from storage.catalogue.database import Row
from storage.datasets.store import DatasetStore
from storage.errors import ArtifactMissingError, CatalogueError
from storage.location import Location
from tasks.options.run import OPTIONS

LEFTOVER_S: Final = 3600.0
"""A folder on its way into the store that nobody touched for this long has no writer any more."""

AT_ONCE: Final = 200
"""Runs whose steps are written down in one transaction."""

log = logging.getLogger(__name__)

Kind = Literal["round", "step", "run", "leftover"]

MEANINGS: Final[dict[Kind, str]] = {
    "round": "rounds of finished runs that only later rounds needed",
    "step": "finished work that no run refers to",
    "run": "runs beyond their age, and folders of deleted ones",
    "leftover": "uploads and folders whose writer died",
}


@dataclass(frozen=True)
class Garbage:
    """One thing that may go: a step by its key, a run by its id, a file or folder by its path."""

    kind: Kind
    name: str
    path: Location
    n_bytes: int
    age_s: float


class Retention:
    """Finds and removes the garbage of one data folder.

    Parameters
    ----------
    settings : Settings
    catalogue : Catalogue
    """

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._paths = DataPaths.of(settings)
        self._artifacts = ArtifactStore(self._paths.artifacts)
        self._inputs = RunInputReader(DatasetRepository(catalogue, DatasetStore(self._paths.datasets)))
        self._kept = RunStepRepository(catalogue, self._inputs)

    def find(self, min_age_s: float, max_run_age_s: float | None = None) -> list[Garbage]:
        """Everything that may go.

        Parameters
        ----------
        min_age_s : float
            Nothing younger is touched [s].
        max_run_age_s : float, optional
            Runs that ended longer ago go with their results [s]; none go where not given.
        """
        runs = self._catalogue.runs.page()
        expired = {run["id"]: run for run in runs if is_expired(run, max_run_age_s)}
        kept = [run for run in runs if run["id"] not in expired]
        found = [*self._steps_beyond(kept), *self._run_folders(kept, list(expired.values()))]
        return [
            *(garbage for garbage in found if garbage.age_s >= min_age_s or garbage.kind == "run"),
            *self.leftovers(min_age_s),
        ]

    def leftovers(self, min_age_s: float = LEFTOVER_S) -> list[Garbage]:
        """Uploads and folders that were on their way when their writer died."""
        stored, uploads, min_age_s = self._paths, self._settings.uploads_dir, max(min_age_s, LEFTOVER_S)
        paths: list[Location] = []
        for folder, pattern in ((stored.datasets, "*/scans/*"), (stored.artifacts, "*/*"), (stored.runs, "*/*.zarr")):
            paths += abandoned(folder, min_age_s) if isinstance(folder, Path) else unmarked(folder, pattern, min_age_s)
        paths += [path for path in uploads.glob("*.part") if age_of(path) >= min_age_s]
        paths += abandoned(uploads, min_age_s)
        return [Garbage("leftover", path.name, path, size_of(path), age_of(path)) for path in paths]

    def remove(self, garbage: Garbage) -> None:
        """Remove one thing; one that is gone already is no error.

        Raises
        ------
        OSError
            A leftover could not be removed.
        """
        if garbage.kind in ("round", "step"):
            self._artifacts.delete(garbage.name)
            return
        if garbage.kind == "run":
            self._paths.remove_run(garbage.name)
            self._catalogue.runs.delete(garbage.name)
        else:
            discard(garbage.path)

    def _steps_beyond(self, runs: list[Row]) -> Iterator[Garbage]:
        """Steps that none of ``runs`` needs."""
        try:
            steps = self._steps_of(runs)
        except InvalidInputError as error:
            log.warning("all finished steps are kept, because a run may need any of them: %s", error)
            return
        stored = self._artifacts.keys()
        short = numbers([short_keys(stored)])
        is_needed = np.isin(short, numbers(steps[run["id"]].needed_in(run["state"]) for run in runs))
        is_past = np.isin(short, numbers(one.past for one in steps.values()))
        for place in np.flatnonzero(~is_needed):
            key = stored[place]
            try:
                age_s, n_bytes = time.time() - self._artifacts.finished(key), self._artifacts.n_bytes(key)
            except ArtifactMissingError:  # deleted while we looked
                continue
            yield Garbage("round" if is_past[place] else "step", key, self._artifacts.path(key), n_bytes, age_s)

    def _steps_of(self, runs: list[Row]) -> dict[str, RunSteps]:
        """Steps of every run: as they are kept in the catalogue, else from its graph, and then kept for the next time.

        Raises
        ------
        InvalidInputError
            A dataset is damaged, and nothing was known of it.
        """
        bases = self._kept.bases(runs)  # before datasets are read: where one changes meanwhile, what is kept does not hold
        steps = self._kept.known(runs, bases)
        new: dict[str, tuple[str, RunSteps]] = {}
        inputs_of = lru_cache(maxsize=1)(self._inputs.read_known)
        for run in sorted((run for run in runs if run["id"] not in steps), key=lambda run: repr(run["datasets"])):
            found = self._built(run, inputs_of)
            steps[run["id"]] = found or RunSteps()
            if found and run["state"] in ENDED and run["id"] in bases:
                new[run["id"]] = bases[run["id"]], found
            if len(new) >= AT_ONCE:
                self._keep(new)
        self._keep(new)
        return steps

    def _built(self, run: Row, inputs_of: Callable[[Sequence[str]], Sequence[RunInput]]) -> RunSteps | None:
        """Steps of a run, from its graph; None where it can never go on.

        Raises
        ------
        InvalidInputError
        """
        try:
            options = OPTIONS.validate_python(run["options"])
            inputs = inputs_of(tuple(run["datasets"]))
        except (NotFoundError, TypeError, ValidationError):  # its datasets are gone, or its row of the catalogue is damaged
            return None
        except InvalidInputError as error:
            raise InvalidInputError(f"run {run['id']}: {error}") from error
        graph = build_graph(inputs, options, run["id"])
        return RunSteps.of({step.key for step in graph.steps.values()}, past_rounds(graph))

    def _keep(self, new: dict[str, tuple[str, RunSteps]]) -> None:
        """Keep the steps of these runs, where the catalogue has room for them: garbage is looked for when it has not."""
        try:
            if new:
                self._kept.put(new)
        except CatalogueError as error:
            log.warning("which steps runs need could not be written down, and is found out again next time: %s", error)
        new.clear()

    def _run_folders(self, kept: list[Row], expired: list[Row]) -> Iterator[Garbage]:
        folder = self._paths.runs
        for run in expired:
            yield Garbage("run", run["id"], folder / run["id"], size_of(folder / run["id"]), time.time() - run["finished"])
        known = {run["id"] for run in (*kept, *expired)}
        for path in folder.iterdir() if folder.is_dir() else ():
            is_orphan = path.name.startswith(("run_", ".deleted-")) and path.name not in known
            if is_orphan and age_of(path) >= LEFTOVER_S:
                yield Garbage("run", path.name, path, size_of(path), age_of(path))


def is_expired(run: Row, max_age_s: float | None) -> bool:
    """Whether a run ended longer ago than it may be kept."""
    if max_age_s is None or run["state"] not in ENDED or run["finished"] is None:
        return False
    return bool(time.time() - run["finished"] >= max_age_s)


def age_of(path: Location) -> float:
    """Seconds since a path was last changed; 0 where it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
