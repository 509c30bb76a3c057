"""The service, built of its parts from the settings; the only module that knows all of them."""

import copy
import fcntl
import gc
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Final

from service.api_keys import Key
from service.datasets import Datasets
from service.errors import ConflictError, DataFolderError, StorageFullError, is_disk_full
from service.execution import worker as work
from service.execution.dask.cluster import Cluster
from service.execution.libraries import pass_over_loaded
from service.execution.metrics import Snapshot
from service.execution.runner import Runner
from service.records.dataset_repository import DatasetRepository
from service.records.run_inputs import RunInputReader
from service.records.run_repository import RunRepository
from service.records.run_steps import RunStepRepository
from service.references import References
from service.results.area_spectra import load_ahead
from service.retention import Retention
from service.runs import Runs
from service.settings import DataPaths, Settings
from service.uploads.sandbox import start_ahead, tidy_sockets
from service.versions import library_versions
from service.workflow.inputs import RunInput
from service.workflow.quotas import Limits
from storage.catalogue.catalogue import Catalogue
from storage.datasets.store import DatasetStore
from storage.location import Location
from storage.references import ReferenceStore
from tasks.options.run import RunOptions

SWEEP_S: Final = 6 * 3600.0
"""How often what dead writers left is looked for, after the start."""

log = logging.getLogger(__name__)


class Service:
    """All of ptyxas behind its web layer; start it before use, stop it after."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        paths = DataPaths.of(settings)
        make_folders(settings.data_dir, (paths.datasets, paths.artifacts, paths.runs, settings.uploads_dir))
        self._lock: IO[bytes] | None = None
        self._stopping = threading.Event()
        self._shows_dashboard = True
        self._catalogue = Catalogue(settings.catalogue_url)
        runs = RunRepository(self._catalogue)
        datasets = DatasetRepository(self._catalogue, DatasetStore(paths.datasets))
        inputs = RunInputReader(datasets)
        steps, load = RunStepRepository(self._catalogue, inputs), loader(inputs, Limits(settings))
        self._runner = Runner(runs, paths, load, work.perform, keep_rounds=settings.keep_rounds, kept_steps=steps)
        self._cluster = Cluster(settings, self._runner.hear_progress)
        self.datasets = Datasets(settings, datasets, self._runner.wake, runs.users_of)
        self.references = References(ReferenceStore(settings.location("references")))
        self.runs = Runs(settings, runs, paths, inputs, self._runner, lambda: self.dashboard_url)

    def start(self) -> None:
        """Start the cluster and the run loop; runs that an earlier service left unfinished go on."""
        self._lock = lock_folder(self.settings.data_dir)
        sweep(Retention(self.settings, self._catalogue))
        self._stopping.clear()
        threading.Thread(target=self._sweep_now_and_then, name="sweep", daemon=True).start()
        tidy_sockets(self.settings.data_dir / "sockets")
        start_ahead()
        self.datasets.start()
        self._cluster.start()
        self._runner.start(self._cluster)
        threading.Thread(target=load_libraries, name="load-ahead", daemon=True).start()

    def stop(self) -> None:
        """Stop what was started; unfinished runs go on at the next start."""
        self._stopping.set()
        self._runner.stop()
        self._cluster.stop()
        self.datasets.stop()
        self._catalogue.close()
        gc.unfreeze()
        if self._lock is not None:
            self._lock.close()

    def _sweep_now_and_then(self) -> None:
        """Remove what workers that died left: a service that runs for months has some, and was itself killed at times."""
        while not self._stopping.wait(SWEEP_S):
            try:
                sweep(Retention(self.settings, self._catalogue))
            except Exception:
                log.exception("what dead writers left could not be looked for; it will be again")

    def within(self, key: Key) -> "Service":
        """The same service as the holder of a key sees it: one project, and the dashboard for administrators only."""
        bound = copy.copy(self)
        bound._shows_dashboard = key.may("admin")
        bound.datasets = self.datasets.within(key.project)
        bound.references = self.references.within(key.project)
        bound.runs = self.runs.within(key.project, lambda: bound.dashboard_url)
        return bound

    @property
    def dashboard_url(self) -> str | None:
        """Address of the Dask dashboard, while the scheduler is there and the caller may see everyone's work."""
        return self._cluster.dashboard_url if self._shows_dashboard else None

    def unready_reason(self) -> str | None:
        """Why runs cannot be worked on at present; None where they can."""
        if not self._catalogue.is_ready():
            return "the catalogue does not answer, or is damaged"
        return self._cluster.problem

    def snapshot(self) -> Snapshot:
        """What the whole service holds and does, all projects together."""
        n_datasets, n_bytes = self.datasets.totals()
        return Snapshot(
            n_runs=self._catalogue.runs.count_by_state(),
            n_datasets=n_datasets,
            n_dataset_bytes=n_bytes,
            n_free_bytes=shutil.disk_usage(self.settings.data_dir).free,
            n_slots=self._cluster.n_slots,
            is_connected=self._cluster.is_connected,
            metrics=self._runner.metrics,
        )

    def versions(self) -> dict[str, str]:
        """Versions of ptyxas and of what its numbers come from."""
        return library_versions()


def make_folders(data_dir: Path, folders: Iterable[Location]) -> None:
    """Make the data folder and what has to be in it, and see that each takes a file.

    Raises
    ------
    DataFolderError
        One of them is read-only, another user's, or no folder.
    StorageFullError
    """
    folder: Location = data_dir
    try:
        make_private(data_dir)
        for folder in (data_dir, *folders):
            folder.mkdir(parents=True, exist_ok=True)
            if isinstance(folder, Path):
                tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        if is_disk_full(error):
            raise StorageFullError(f"the disk of {folder} is full: make room on it, then start again") from error
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise DataFolderError(f"{folder} has to be a folder: move what is there away, or choose another data_dir") from error
        raise DataFolderError(
            f"{folder} cannot be written ({error.strerror}): a data folder belongs to the user who runs the service, so that one "
            "copied from elsewhere needs `chown -R`; or choose another data_dir"
        ) from error


def make_private(data_dir: Path) -> None:
    """Make ``data_dir``, and whatever this process and those it starts write from now on, readable by their owner only."""
    os.umask(0o077)
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        data_dir.chmod(0o700)
    except PermissionError:  # a volume that belongs to the system, as Kubernetes mounts them
        log.warning("%s belongs to another user, who decides who else may read it", data_dir)


def lock_folder(data_dir: Path) -> IO[bytes]:
    """Hold ``data_dir`` for this process until the file is closed, or the process dies.

    Raises
    ------
    ConflictError
        Another service has it: two would compute the same runs.
    DataFolderError
        The folder is another user's.
    """
    path = data_dir / "service.lock"
    try:
        file = path.open("ab")
    except OSError as error:
        raise DataFolderError(f"{path} cannot be written ({error.strerror}): it belongs to another user") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ConflictError(f"another ptyxas service works in {data_dir}: stop it, or choose another data_dir") from error
    return file


def loader(reader: RunInputReader, limits: Limits) -> Callable[[Sequence[str], RunOptions], list[RunInput]]:
    """How a run's inputs are read while it goes on: a live one may outgrow its limits."""

    def load(dataset_ids: Sequence[str], options: RunOptions) -> list[RunInput]:
        datasets = reader.read_checked(dataset_ids, options)
        limits.check_cost(datasets, options)
        return datasets

    return load


def load_libraries() -> None:
    """Load ahead what the first spectrum needs; no collection of garbage looks at it, nor at what was loaded before, again."""
    load_ahead()
    pass_over_loaded()


def sweep(retention: Retention) -> None:
    """Remove what writers that died left half-way; the disk is theirs no longer."""
    for garbage in retention.leftovers():
        try:
            retention.remove(garbage)
        except OSError as error:
            log.warning("%s could not be removed: %s", garbage.path, error)
        else:
            log.info("removed %s, which a dead writer left", garbage.path)
