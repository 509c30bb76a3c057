"""Runs as users know them: submitted, looked at, cancelled, tried again and deleted."""

import contextlib
import copy
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from service.api_keys import DEFAULT_PROJECT
from service.errors import ConflictError, IdempotencyError, NotFoundError
from service.execution.runner import Runner
from service.records.run_inputs import RunInputReader
from service.records.run_repository import RETRIED, RunRepository
from service.records.views import EventView, Page, PageKey, RunFilter, RunState, RunView
from service.results.published import PublishedResults
from service.settings import DataPaths, Settings
from service.stages.dataset_results import RunResultsStep
from service.stages.pipeline import build_graph
from service.workflow.graph import Graph
from service.workflow.quotas import Limits, check_free_disk
from storage.artifacts import ArtifactStore
from storage.catalogue.catalogue import new_id
from storage.catalogue.runs import EVERY_RUN
from storage.errors import ResultsError, RowExistsError
from storage.figures import FigureStore
from storage.results import ResultsStore
from tasks.options.run import OPTIONS, RunOptions

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

    def follow(self, run_id: str, after: int = 0) -> tuple[RunState, Sequence[EventView]]:
        """The state of a run, and its first `MOST_EVENTS` events after the event ``after`` at the same moment."""
        state, events = self._repository.follow(run_id, after, self._project)
        if state is None:
            raise NotFoundError(f"there is no run {run_id}")
        return state, events

    def follow_in_memory(self, run_id: str, after: int) -> tuple[RunState, Sequence[EventView]] | None:
        """What `follow` answers, at once, where it needs no look into the catalogue; else None."""
        return self._repository.follow_in_memory(run_id, after, self._project)

    def watching(self, run_id: str, on_change: Callable[[], None]) -> AbstractContextManager[None]:
        """Within it, ``on_change`` is called when `follow` has something new, in any thread: it must only hand it over."""
        return self._repository.watching(run_id, on_change)

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
        """Forget a run, its events and its results; finished steps stay for whoever needs them.

        The results go first: that makes room where the disk is full, and a service killed in between still knows the run, so that
        it can be deleted again.
        """
        view = self.get(run_id)
        if not view.has_ended:
            is_stopping = self._paths.stop_flag(run_id).exists()
            todo = "it is being cancelled, ask again when it has stopped" if is_stopping else "cancel it first"
            raise ConflictError(f"run {run_id} is {view.state}: {todo}")
        self._paths.remove_run(run_id)
        self._repository.delete(run_id)
        log.info("deleted", extra={"run": run_id, "project": self._owner})

    @property
    def results(self) -> PublishedResults:
        """What the same runs have published."""
        return PublishedResults(self._settings, self._paths, self._inputs, self.get)

    @property
    def _owner(self) -> str:
        """The project that new runs belong to."""
        return self._project or DEFAULT_PROJECT

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
        self._paths.remove_run(run_id)

    def _claim(self, key: str, body: Mapping[str, object], run_id: str) -> str:
        """The run that an idempotency key stands for: ``run_id``, or that of whoever came first."""
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        claimed, claimed_digest = self._repository.claim(key, digest, run_id, self._owner)
        if claimed_digest != digest:
            raise IdempotencyError(f"the idempotency key {key!r} came before, with another body")
        return claimed
