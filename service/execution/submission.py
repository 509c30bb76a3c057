"""Submission of runs to the cluster: one Dask task a step, whichever and however many runs want it.

The unfinished steps of a run are submitted in the order of its graph, with the tasks of their unfinished inputs as inputs.
A finished step is not submitted, and no task depends on it, because its result is read from disk.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from service.errors import SchedulerUnavailableError
from service.execution.batching import Batch, batches_of, perform_together
from service.execution.dask.cluster import GPU_WORKER
from service.execution.dask.task import Outcome, TaskSpec, Work
from service.execution.priorities import FairShare
from service.execution.task_table import Task, TaskTable
from service.execution.worker import StepResult
from service.settings import DataPaths
from service.stages.context import StepRequest
from service.workflow.progress import RunProgress
from service.workflow.step import Step, digest
from storage.artifacts import ArtifactStore

MAX_GRAPH: Final = 200
"""Tasks that are submitted for one run before the next has its turn: a millisecond each."""
MAX_KILLS: Final = 1
"""How often a task is submitted of which no beginning was seen before its workers died: another may have been the cause."""

StepOutcome = tuple[str, Step, StepResult]
"""A run, a step that it wants, and what became of it."""


class Executor(Protocol):
    """What is asked of a cluster (`service.execution.dask.cluster.Cluster`)."""

    @property
    def n_gpus(self) -> int: ...
    def connect(self) -> bool: ...
    def load_ahead(self) -> None: ...
    def submit(self, tasks: Sequence[TaskSpec], on_end: Callable[[str, Outcome], None]) -> None: ...
    def release(self, keys: Iterable[str]) -> None: ...


class Submissions:
    """The steps of all live runs that are with the cluster.

    Parameters
    ----------
    cluster : Executor
    paths : DataPaths
        Folders that workers share with the service.
    work : callable
        What a worker runs for each step (`service.execution.worker.perform`).
    runs : mapping of str to RunProgress
        The live runs, as the run loop adds and removes them.
    on_outcome : callable
        ``on_outcome(key, outcome)`` of each task, called in any thread: it must only hand it over, to `take`.
    """

    def __init__(
        self,
        cluster: Executor,
        paths: DataPaths,
        work: Work,
        runs: Mapping[str, RunProgress],
        on_outcome: Callable[[str, Outcome], None],
    ) -> None:
        self._cluster = cluster
        self._paths = paths
        self._artifacts = ArtifactStore(paths.artifacts)
        self._work = work
        self._runs = runs
        self._on_outcome = on_outcome
        self._table = TaskTable()
        self._n_submitted: Counter[str] = Counter()
        self._n_kills: Counter[str] = Counter()
        self._fair_share = FairShare()
        self._has_gpus = False

    def connect(self) -> None:
        """See that steps can be submitted; what was with a cluster that is gone has to be submitted again.

        Raises
        ------
        SchedulerUnavailableError
        """
        try:
            if self._cluster.connect():
                self.clear()
        except SchedulerUnavailableError:
            self.clear()
            raise
        self._regroup()

    def load_ahead(self) -> None:
        """Have idle workers load the libraries of the stages, because steps will come."""
        self._cluster.load_ahead()

    def clear(self) -> None:
        """Take everything back from the cluster."""
        self._withdraw(list(self._table))

    @property
    def n_ready(self) -> int:
        """Steps that wait for a worker, and for nothing else."""
        return sum(len(task.steps) for task in self._table if task.is_ready)

    @property
    def n_running(self) -> int:
        """Steps that workers have begun."""
        return sum(len(task.steps) for task in self._table if task.has_begun)

    def submit(self, run: RunProgress, limit: int) -> list[StepOutcome]:
        """Submit the next steps of a run until ``limit`` of its steps have not ended.

        Returns
        -------
        list of StepOutcome
            Steps that need not be submitted, because they were finished meanwhile.

        Raises
        ------
        SchedulerUnavailableError
        """
        self._fair_share.admit(run.run_id, run.pending)
        found: list[StepOutcome] = []
        specs: list[TaskSpec] = []
        while run.pending and len(run.submitted) < limit and len(specs) < MAX_GRAPH:
            step = run.pending[0]
            task = self._table.of_step(step.key)
            if task is not None:
                self._join(run, task)
            elif self._artifacts.has(step.key):
                run.pending.popleft()
                run.finish(step.key)
                found.append((run.run_id, step, StepResult("done")))
            else:
                for new in self._add_next(run):
                    specs.append(self._spec(run, new))
                    self._join(run, new)
        if specs:
            self._cluster.submit(specs, self._on_outcome)
        return found

    def leave(self, run: RunProgress) -> None:
        """Take back the steps of a run that has ended; those that another run wants as well go on."""
        self._drop(run, list(self._table))
        self._fair_share.forget(run.run_id)

    def drop_unwanted(self, run: RunProgress) -> None:
        """Take back the steps that a run's graph does not contain any more."""
        self._drop(run, [task for task in self._table if run.submitted.isdisjoint(step.key for step in task.steps)])

    def _drop(self, run: RunProgress, tasks: list[Task]) -> None:
        for task in tasks:
            task.wanted_by.discard(run.run_id)
        self._withdraw([task for task in tasks if not task.wanted_by])

    def take(self, key: str, outcome: Outcome) -> list[StepOutcome]:
        """Take the outcome of a task, and return what it means for each step of each run that wants it."""
        task = self._table.get(key)
        if task is None:
            return []  # it was taken back
        if outcome.blamed not in ("", key) and self._table.get(outcome.blamed) is not None:
            return []  # an input failed, whose own outcome is yet to be taken
        results = self._results(task, outcome)
        found = [
            (run.run_id, step, result)
            for run in self._wanting(task)
            for step, result in zip(task.steps, results, strict=True)
            if step.key in run.submitted
        ]
        for run_id, step, result in found:
            self._fair_share.advance(run_id, step.name)
            if result.fate == "done":
                self._runs[run_id].finish(step.key)
        if outcome.fate == "done":
            self._cluster.release(self._table.end(task))
        else:
            self._withdraw([task])
        return found

    def note(self, report: Mapping[str, Any]) -> None:
        """Take what a running task reports: that it began, or how far it is."""
        task = self._table.get(report["task"])
        if task is None:
            return
        if "begun" in report:
            task.has_begun = True
            for run in self._wanting(task):
                run.begin(step.key for step in task.steps)
            return
        keys = [step.key for step in task.steps if step.name == report["unit"]]
        for run in self._wanting(task):
            run.shares |= dict.fromkeys(run.names_of(keys), report["cycle"] / report["n_cycles"])

    def _add_next(self, run: RunProgress) -> list[Task]:
        """Make a task of the first pending step, or batches of it and of all that can be computed with it."""
        parts: list[tuple[Step, ...]] = [(run.pending[0],)]
        if self._cluster.n_gpus:
            free = {step.key: step for step in run.pending if self._table.of_step(step.key) is None}
            parts = batches_of(free.values(), self._cluster.n_gpus) or parts
        return [self._table.add(self._new_key(steps), steps) for steps in parts]

    def _spec(self, run: RunProgress, task: Task) -> TaskSpec:
        requests = tuple(StepRequest(run.run_id, step, self._paths) for step in task.steps)
        inputs = tuple(read.key for read in task.inputs)
        priority = max([self._fair_share.priority(run.run_id, step) for step in task.steps])
        if task.is_batch:
            return TaskSpec(task.key, perform_together, Batch(requests), inputs, priority, GPU_WORKER)
        return TaskSpec(task.key, self._work, requests[0], inputs, priority)

    def _join(self, run: RunProgress, task: Task) -> None:
        """Note that a run wants a task."""
        task.wanted_by.add(run.run_id)
        run.submit([step.key for step in task.steps], has_begun=task.has_begun)

    def _new_key(self, steps: tuple[Step, ...]) -> str:
        """Key for Dask: readable, of this data folder alone, and another each time that the steps are submitted."""
        name = steps[0].name if len(steps) == 1 else f"{steps[0].name}-and-{len(steps) - 1}-more"
        key = f"ptyxas-{name}-{digest([str(self._paths.artifacts), *(step.key for step in steps)])[:16]}"
        self._n_submitted[key] += 1
        return key if self._n_submitted[key] == 1 else f"{key}-{self._n_submitted[key]}"

    def _withdraw(self, tasks: list[Task]) -> None:
        """Take tasks back, and those that read their results; runs that still want them submit them again."""
        dropped, keys = self._table.withdraw(tasks)
        for task in dropped:
            for run in self._wanting(task):
                run.withdraw(step.key for step in task.steps)
        self._cluster.release(keys)

    def _wanting(self, task: Task) -> list[RunProgress]:
        return [self._runs[run_id] for run_id in sorted(task.wanted_by) if run_id in self._runs]

    def _regroup(self) -> None:
        """Form batches when the first worker with a graphics card comes, and single steps when the last has left."""
        has_gpus = self._cluster.n_gpus > 0
        if has_gpus == self._has_gpus:
            return
        self._has_gpus = has_gpus
        if has_gpus:
            self._withdraw([task for task in self._table if batches_of(task.steps) and not task.has_begun])
        else:
            self._withdraw([task for task in self._table if task.is_batch])

    def _results(self, task: Task, outcome: Outcome) -> list[StepResult]:
        """What became of each step of a task."""
        if outcome.blamed not in ("", task.key):
            result = StepResult("lost", message="the result of a step that it reads was lost")
        elif outcome.results:
            return list(outcome.results)
        elif outcome.fate == "killed" and not task.has_begun and self._n_kills[task.steps[0].key] < MAX_KILLS:
            self._n_kills[task.steps[0].key] += 1
            result = StepResult("lost", message=f"{outcome.message}, or that of a step beside it")
        else:
            result = StepResult("lost" if outcome.fate == "lost" else "failed", message=outcome.message)
        return [result] * len(task.steps)
