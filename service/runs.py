"""Runs as users know them: submitted, looked at, cancelled, tried again, deleted, and read once they are published."""

import contextlib
import copy
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from service.api_keys import DEFAULT_PROJECT
from service.area_spectra import Area, AreaSpectrum, read_area_spectrum
from service.energy_table import EnergyRow, partial_rows, published_rows
from service.errors import (
    ConflictError,
    IdempotencyError,
    NotFoundError,
    ResultsDamagedError,
    ResultsNotReadyError,
)
from service.execution.runner import Runner
from service.exports import Exported, write_export
from service.previews import PARTIAL, draw, read_image, read_partial_image
from service.quotas import Limits
from service.records.run_inputs import RunInputReader
from service.records.run_repository import OPTIONS, RETRIED, RunRepository
from service.records.views import EventView, FigureView, Page, PageKey, RunFilter, RunView
from service.settings import Settings
from service.stages.context import DataPaths
from service.stages.dataset_results import RunResultsStep
from service.stages.pipeline import build_graph
from service.uploads.receive import check_free_disk
from service.workflow.graph import Graph
from storage.artifacts import ArtifactStore
from storage.atomic import remove_tree
from storage.catalogue.catalogue import new_id
from storage.catalogue.runs import EVERY_RUN
from storage.errors import ResultsDamagedError as StoredResultsDamagedError
from storage.errors import ResultsError, RowExistsError
from storage.figures import FigureStore
from storage.results import ResultsStore
from tasks.options.run import RunOptions

log = logging.getLogger(__name__)


class Runs:
    """All runs of the service."""

    def __init__(
        self,
        settings: Settings,
        repository: RunRepository,
        paths: DataPaths,
        inputs: RunInputReader,
        runner: Runner,
        dashboard_url: Callable[[], str | None],
    ) -> None:
        self._settings = settings
        self._repository = repository
        self._paths = paths
        self._inputs = inputs
        self._runner = runner
        self._dashboard_url = dashboard_url
        self._limits = Limits(settings)
        self._project: str | None = None

    def within(self, project: str, dashboard_url: Callable[[], str | None]) -> "Runs":
        """The same runs as a project sees them: its own, and no others."""
        bound = copy.copy(self)
        bound._project, bound._dashboard_url = project, dashboard_url
        return bound

    def submit(
        self, dataset_ids: Sequence[str], options: RunOptions, name: str = "", idempotency_key: str | None = None
    ) -> RunView:
        """Queue a run; everything that can be known to go wrong is refused here, before anything is computed.

        Raises
        ------
        NotFoundError
            A dataset that is not there.
        InvalidInputError
            Datasets or options that cannot make a run, with every fault.
        TooCostlyError, TooManyRunsError
            More than a project may ask for.
        IdempotencyError
            The idempotency key came before, with another body.
        """
        run_id = new_id("run")
        body = {"datasets": list(dataset_ids), "options": OPTIONS.dump_python(options, mode="json"), "name": name}
        if idempotency_key is not None:
            run_id = self._claim(idempotency_key, body, run_id)
            if self._repository.view(run_id) is not None:
                return self.get(run_id)
        self._limits.check_cost(self._inputs.read_checked(dataset_ids, options, self._project), options)
        self._limits.check_runs(self._repository.count_unfinished(self._project))
        check_free_disk(self._settings)
        with contextlib.suppress(RowExistsError):  # the same request, sent twice at once, came first
            self._repository.open_run(run_id, name or f"run {run_id[-4:]}", dataset_ids, options, self._owner)
        log.info("submitted on %s", ", ".join(dataset_ids), extra={"run": run_id, "project": self._owner})
        self._runner.wake()
        return self.get(run_id)

    def page(self, limit: int = 50, after: PageKey | None = None, matching: RunFilter = EVERY_RUN) -> Page[RunView]:
        """Part of the list of runs, newest first."""
        return self._repository.page(self._project, self._dashboard_url(), matching, after, limit)

    def get(self, run_id: str) -> RunView:
        """One run as it stands."""
        view = self._repository.view(run_id, self._dashboard_url(), self._project)
        if view is None:
            raise NotFoundError(f"there is no run {run_id}")
        return view

    def events(self, run_id: str, after: int = 0) -> Sequence[EventView]:
        """What happened to a run after the event ``after``."""
        self.get(run_id)
        return self._repository.events(run_id, after)

    def cancel(self, run_id: str) -> RunView:
        """Stop a run: at once where it is queued, else steps at work see it at their next cycle."""
        view = self.get(run_id)
        if view.has_ended:
            raise ConflictError(f"run {run_id} has {view.state} already")
        self._paths.raise_stop_flag(run_id)
        self._repository.end_run(run_id, "cancelled", None, ("queued",))
        log.info("cancelled by its owner", extra={"run": run_id, "project": self._owner})
        self._runner.wake()
        return self.get(run_id)

    def retry(self, run_id: str) -> RunView:
        """Go on with a failed or cancelled run, or compute lost or damaged results again: what is finished is not repeated."""
        view = self.get(run_id)
        damage = self._damage(run_id) if view.state == "succeeded" else []
        if not (view.state in RETRIED or damage):
            reason = "only a run that failed, was cancelled or lost its results can be tried again"
            raise ConflictError(f"run {run_id} is {view.state}: {reason}")
        options = OPTIONS.validate_python(dict(view.options))
        inputs = self._inputs.read_checked(view.datasets, options)
        self._limits.check_cost(inputs, options)
        self._limits.check_runs(self._repository.count_unfinished(self._project))
        if damage:
            log.warning("results are computed again: %s", "; ".join(damage), extra={"run": run_id, "project": self._owner})
            self._forget_results(run_id, build_graph(inputs, options, run_id))
        self._paths.lower_stop_flag(run_id)
        if not self._repository.reopen_run(run_id, (view.state,)):
            raise ConflictError(f"run {run_id} is being tried again already")
        self._runner.wake()
        return self.get(run_id)

    def rename(self, run_id: str, name: str) -> RunView:
        """Give a run another name."""
        self.get(run_id)
        self._repository.rename(run_id, name)
        return self.get(run_id)

    def delete(self, run_id: str) -> None:
        """Forget a run, its events and its results; finished steps stay for whoever needs them."""
        view = self.get(run_id)
        if not view.has_ended:
            raise ConflictError(f"run {run_id} is {view.state}: cancel it first")
        self._repository.delete(run_id)
        with contextlib.suppress(FileNotFoundError):
            remove_tree(self._paths.run_dir(run_id))
        log.info("deleted", extra={"run": run_id, "project": self._owner})

    # ---- what was published ----------------------------------------------------------------------------------------

    def results_file(self, run_id: str, key: str) -> Path:
        """The file of one key of the results store.

        Raises
        ------
        ResultsNotReadyError
            The store is not sealed.
        ResultsDamagedError
            The file is no longer what was sealed.
        NotFoundError
            The sealed store holds no such key.
        """
        view = self.get(run_id)
        with readable(view):
            found = self._results(view).resolve_key(key)
        if found is None:
            raise NotFoundError(f"the results of run {run_id} hold no {key!r}")
        return found.path

    def figures(self, run_id: str) -> Sequence[FigureView]:
        """Every figure of a run, in the order of the analysis.

        Raises
        ------
        ResultsNotReadyError, ResultsDamagedError
        """
        view = self.get(run_id)
        with readable(view, "figures"):
            listed = self._figures(view).listed()
        return [FigureView(item["name"], item.get("title", item["name"]), item.get("dataset")) for item in listed]

    def figure_path(self, run_id: str, name: str) -> Path:
        """The PNG of one figure; only names that are listed, so that none leads elsewhere.

        Raises
        ------
        NotFoundError, ResultsNotReadyError, ResultsDamagedError
        """
        view = self.get(run_id)
        with readable(view, "figures"):
            found = self._figures(view).path(name)
        if found is None:
            raise NotFoundError(f"run {run_id} has no figure {name!r}")
        return found

    def image(
        self,
        run_id: str,
        dataset: str,
        variable: str,
        energy_ev: float | None = None,
        cmap: str | None = None,
        vmin: float | None = None,
        vmax: float | None = None,
        width: int = 800,
    ) -> bytes:
        """Any array over y and x as a PNG; until results are published, absorption and phase as far as they have come.

        Raises
        ------
        NotFoundError
            No such image.
        ResultsNotReadyError
            It will come with the results.
        ResultsDamagedError
            The array is no longer what was sealed.
        InvalidOptionError
            A colour map, limits or a width that mean nothing.
        """
        view = self.get(run_id)
        if dataset not in view.datasets:
            raise NotFoundError(f"run {run_id} is not on a dataset {dataset}")
        store = ResultsStore(self._paths.results(run_id))
        if store.is_sealed():
            with readable(view):
                picture = read_image(store, dataset, variable, energy_ev)
        elif variable in PARTIAL:
            options = OPTIONS.validate_python(dict(view.options))
            graph = build_graph(self._inputs.read([dataset]), options, run_id)
            picture = read_partial_image(ArtifactStore(self._paths.artifacts), graph, variable, energy_ev)
        else:
            raise not_ready(view)
        return draw(picture, cmap=cmap, vmin=vmin, vmax=vmax, width=width)

    def spectra(self, run_id: str, areas: Sequence[Area]) -> list[AreaSpectrum]:
        """Spectra, fits and ratios of areas of the published images.

        Raises
        ------
        ResultsNotReadyError, ResultsDamagedError
        NotFoundError, InvalidInputError
            An area of no dataset of this run, or outside its image.
        """
        view = self.get(run_id)
        with readable(view):
            store = self._results(view)
            return [read_area_spectrum(store, area, f"areas.{i}") for i, area in enumerate(areas)]

    def export(self, run_id: str, form: str, dataset: str | None = None) -> Exported:
        """The published results as a file of another program, of all datasets or of one.

        Raises as `spectra` does, and StorageFullError.
        """
        view = self.get(run_id)
        check_free_disk(self._settings)
        with readable(view):
            return write_export(self._results(view), run_id, view.datasets, form, dataset, self._settings.uploads_dir)

    def energies(self, run_id: str) -> list[EnergyRow]:
        """How each energy came out, of every dataset as far as it was reconstructed.

        Raises
        ------
        ResultsDamagedError
        """
        view = self.get(run_id)
        store = ResultsStore(self._paths.results(run_id))
        if store.is_sealed():
            with readable(view):
                return [row for dataset in view.datasets for row in published_rows(store, dataset)]
        options = OPTIONS.validate_python(dict(view.options))
        graph = build_graph(self._inputs.read(view.datasets), options, run_id)
        artifacts = ArtifactStore(self._paths.artifacts)
        return [row for dataset in view.datasets for row in partial_rows(artifacts, graph, dataset)]

    @property
    def _owner(self) -> str:
        """The project that new runs belong to."""
        return self._project or DEFAULT_PROJECT

    def _results(self, view: RunView) -> ResultsStore:
        store = ResultsStore(self._paths.results(view.id))
        if not store.is_sealed():
            raise not_ready(view)
        return store

    def _figures(self, view: RunView) -> FigureStore:
        self._results(view)
        return FigureStore(self._paths.figures(view.id))

    def _damage(self, run_id: str) -> list[str]:
        """What is missing or damaged of the results and figures of a run that succeeded."""
        try:
            store, figures = ResultsStore(self._paths.results(run_id)), FigureStore(self._paths.figures(run_id))
            return [*store.verify(), *figures.damage()]
        except ResultsError as error:
            return [str(error)]

    def _forget_results(self, run_id: str, graph: Graph) -> None:
        """Remove what a run published, and the steps that published it, so that they are computed again."""
        for step in graph.steps.values():
            if isinstance(step, RunResultsStep):
                ArtifactStore(self._paths.artifacts).delete(step.key)
        with contextlib.suppress(FileNotFoundError):
            remove_tree(self._paths.run_dir(run_id))

    def _claim(self, key: str, body: Mapping[str, object], run_id: str) -> str:
        """The run that an idempotency key stands for: ``run_id``, or that of whoever came first."""
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        claimed, claimed_digest = self._repository.claim(key, digest, run_id, self._owner)
        if claimed_digest != digest:
            raise IdempotencyError(f"the idempotency key {key!r} came before, with another body")
        return claimed


def not_ready(view: RunView, what: str = "results") -> ResultsNotReadyError | ResultsDamagedError:
    """Why a run has no results, or no figures, to read."""
    if view.state == "succeeded":
        return ResultsDamagedError(f"the {what} of run {view.id} are gone; try the run again to compute them")
    return ResultsNotReadyError(f"run {view.id} is {view.state}: its {what} are not published")


@contextlib.contextmanager
def readable(view: RunView, what: str = "results") -> Iterator[None]:
    """Raise what the stores say of published results as the service's errors."""
    try:
        yield
    except StoredResultsDamagedError as error:
        raise ResultsDamagedError(f"run {view.id}: {error}") from error
    except ResultsError as error:
        raise not_ready(view, what) from error
