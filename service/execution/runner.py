"""The run loop: follows the runs of the catalogue, submits their steps, and records what comes of them.

One thread ticks. In each tick it takes the messages that came, looks for new and changed runs, submits steps, and writes
down how far each run is. It computes nothing and reads no array; plans are made in other threads
(`service.execution.planning`). All that it holds can be lost: after a restart it is built again from the catalogue and from
the keys of finished steps.

Whatever goes wrong with one run fails that run, with its reason, and touches no other.
"""

import contextlib
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from service.errors import SchedulerUnavailableError, ServiceError
from service.execution.dask.task import Outcome, Work
from service.execution.planning import LoadInputs, Plan, make_plan, note_steps, remove_past_rounds
from service.execution.reporter import PUBLISH_S, Reporter, wait_s
from service.execution.submission import Executor, Submissions
from service.execution.worker import StepResult
from service.records.run_repository import RunRecord, RunRepository
from service.records.run_steps import RunStepRepository
from service.settings import DataPaths
from service.workflow.progress import EndState, RunProgress, explain
from service.workflow.step import Step
from service.workflow.warnings import RunWarnings
from storage.artifacts import ArtifactStore
from storage.errors import CatalogueUnavailableError, StorageError
from tasks.errors import TaskError

TICK_S: Final = 0.5
"""Longest time between two ticks."""
SETTLE_S: Final = 0.01
"""A step that ends and the next that begins send their messages within so long; they are taken together."""
LOOK_S: Final = 2.0
"""Longest time until runs and scans that nobody announced are noticed."""
N_PLANNERS: Final = 2
"""Runs planned at the same time."""
MAX_TASKS: Final = 1000
"""Steps of all runs that are with the scheduler at the same time, about, however many there are to do."""
MIN_TASKS: Final = 20
"""Steps that each run may have with the scheduler, however many runs there are."""
MAX_LOSSES: Final = 20
"""How often in a row a step that was lost, with its worker or the scheduler, is submitted again."""

UNUSABLE: Final = (ServiceError, StorageError, TaskError)
"""Errors whose message is the whole reason, in plain words."""

log = logging.getLogger(__name__)


class Runner:
    """Carries out the runs of the catalogue.

    Parameters
    ----------
    records : RunRepository
        Where runs and events are written down.
    paths : DataPaths
        Folders that workers share with the service.
    load_inputs : callable
        Inputs of a run, by the ids of its datasets and its options; raises where they cannot make a run.
    work : callable
        What a worker runs for each step (`service.execution.worker.perform`).
    keep_rounds : bool
        Keep rounds that only later rounds needed when a run succeeds.
    kept_steps : RunStepRepository, optional
        Where the steps of runs that have ended are written down.

    Attributes
    ----------
    metrics : Metrics
    """

    def __init__(
        self,
        records: RunRepository,
        paths: DataPaths,
        load_inputs: LoadInputs,
        work: Work,
        *,
        keep_rounds: bool = False,
        kept_steps: RunStepRepository | None = None,
    ) -> None:
        self._records = records
        self._paths = paths
        self._artifacts = ArtifactStore(paths.artifacts)
        self._reporter = Reporter(records, self._artifacts)
        self.metrics = self._reporter.metrics
        self._load_inputs = load_inputs
        self._work = work
        self._keep_rounds = keep_rounds
        self._kept_steps = kept_steps
        self._runs: dict[str, RunProgress] = {}
        self._messages: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._reports: deque[dict[str, Any]] = deque()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._plans: dict[str, Future[Plan | None]] = {}
        self._looked_at = self._counted_at = -math.inf
        self._is_connected = True
        self._has_more = False

    def start(self, cluster: Executor) -> None:
        """Start the run loop; runs that an earlier service left unfinished go on."""
        self._submissions = Submissions(cluster, self._paths, self._work, self._runs, self._receive_outcome)
        self._stopping.clear()
        self._planners = ThreadPoolExecutor(N_PLANNERS, thread_name_prefix="ptyxas-plan")
        self._thread = threading.Thread(target=self._run_loop, name="ptyxas-run-loop", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the run loop; unfinished runs stay as they are, to go on at the next start."""
        self._stopping.set()
        self.wake()
        if self._thread is not None:
            self._thread.join(timeout=30)
            self._thread = None
            self._planners.shutdown(cancel_futures=True)
            self._plans.clear()
            self._submissions.clear()
        self._runs.clear()

    def wake(self) -> None:
        """Announce that something changed: a run was submitted or cancelled, a scan arrived, a dataset was sealed."""
        self._messages.put(self._look_at_once)

    def hear_progress(self, report: dict[str, Any]) -> None:
        """Take what a worker reports, in any thread; it wakes nobody, since what others see of it is written once a second."""
        self._reports.append(report)

    def _receive_outcome(self, key: str, outcome: Outcome) -> None:
        self._messages.put(lambda: self._take_outcome(key, outcome))

    # ---- the loop --------------------------------------------------------------------------------------------------

    def _run_loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self._tick()
            except Exception:
                log.exception("a tick of the run loop failed; the next one tries again")
                self._stopping.wait(TICK_S)
        for run in self._runs.values():
            with contextlib.suppress(StorageError):
                self._reporter.write_events(run)

    def _tick(self) -> None:
        self._take_messages()
        self._take_reports()
        self._look_around()
        for run in list(self._runs.values()):
            self._isolate(run, self._check_cancelled)
        self._submit()
        for run in list(self._runs.values()):
            self._isolate(run, self._record)
        self._count()

    def _take_messages(self) -> None:
        """Wait for a message, unless steps are left to submit, then take all there are."""
        with contextlib.suppress(queue.Empty):
            self._messages.get(block=not self._has_more, timeout=wait_s(self._runs.values(), TICK_S))()
            time.sleep(SETTLE_S)
            while True:
                self._messages.get_nowait()()

    def _take_reports(self) -> None:
        while self._reports:
            self._submissions.note(self._reports.popleft())

    def _isolate(self, run: RunProgress, action: Callable[..., None], *arguments: object) -> None:
        """Call ``action(run, *arguments)``; an error of its own ends this run, and only an outage concerns all of them."""
        try:
            action(run, *arguments)
        except (SchedulerUnavailableError, CatalogueUnavailableError):
            raise
        except UNUSABLE as error:
            log.warning("the run cannot go on: %s", error, extra={"run": run.run_id})
            self._end(run, "failed", str(error))
        except Exception as error:
            log.exception("the run cannot go on", extra={"run": run.run_id})
            self._end(run, "failed", f"{type(error).__name__}: {error}")

    # ---- runs come and go ------------------------------------------------------------------------------------------

    def _look_at_once(self) -> None:
        """Have this tick look around, and idle workers load libraries: steps may come of what is found."""
        self._looked_at = -math.inf
        self._submissions.load_ahead()

    def _look_around(self) -> None:
        """Have new runs planned, and live ones whose datasets may have changed: at once when woken, else now and then."""
        if time.monotonic() - self._looked_at < LOOK_S:
            return
        self._looked_at = time.monotonic()
        for record in self._records.unfinished_runs():
            run = self._runs.get(record.id)
            if record.id not in self._plans and (run is None or run.graph.awaits_scans):
                self._plan(run or RunProgress(record.id), record)

    def _plan(self, run: RunProgress, record: RunRecord) -> None:
        future = self._planners.submit(make_plan, record, run.inputs, self._load_inputs, self._artifacts.has)
        self._plans[run.run_id] = future
        future.add_done_callback(lambda future: self._messages.put(lambda: self._take_plan(run, future)))

    def _take_plan(self, run: RunProgress, future: Future[Plan | None]) -> None:
        if self._plans.get(run.run_id) is not future:
            return  # it was made for a run loop that has stopped since
        del self._plans[run.run_id]
        if run.run_id in self._runs:
            self._isolate(run, self._follow_plan, future)
        elif run.ending is None:
            self._isolate(run, self._take_up, future)

    def _take_up(self, run: RunProgress, future: Future[Plan | None]) -> None:
        run.warnings = RunWarnings(self._records.warnings(run.run_id))
        self._follow_plan(run, future)
        run.progress_at_start = run.progress()
        if self._reporter.begin(run):
            self._runs[run.run_id] = run
            self._submissions.load_ahead()

    def _follow_plan(self, run: RunProgress, future: Future[Plan | None]) -> None:
        """Follow a new plan; an error that was raised while it was made is raised here."""
        plan = future.result()
        if plan is not None:
            run.inputs = plan.inputs
            run.follow(plan.graph, plan.stored.__contains__)
            self._submissions.drop_unwanted(run)
            self._reporter.warn_of_datasets(run, plan.inputs)
            self._reporter.warn_of_reused_steps(run)

    def _check_cancelled(self, run: RunProgress) -> None:
        if self._paths.stop_flag(run.run_id).exists():
            self._end(run, "cancelled", None)

    def _end(self, run: RunProgress, state: EndState, error: str | None) -> None:
        """Write down how a run ended, and let go of it; if the catalogue is out of reach, the next tick tries again.

        A run whose end cannot be written down for a reason of its own is let go of, too: it is taken up again at the next look.
        """
        run.ending = state, error
        self._submissions.leave(run)
        try:
            self._reporter.end(run, state, error)
        except CatalogueUnavailableError:
            raise
        except Exception:
            log.exception("the run's end cannot be written down", extra={"run": run.run_id})
        self._runs.pop(run.run_id, None)
        if self._kept_steps is not None:
            self._planners.submit(note_steps, self._kept_steps, run.run_id, run.inputs, run.graph)
        if state == "succeeded" and not self._keep_rounds:
            self._planners.submit(remove_past_rounds, self._artifacts, run.graph, [one.graph for one in self._runs.values()])

    # ---- steps go out and come back --------------------------------------------------------------------------------

    def _submit(self) -> None:
        self._has_more = False
        if not self._runs:
            return
        try:
            self._submissions.connect()
            self._tell_connected()
            limit = max(MIN_TASKS, MAX_TASKS // len(self._runs))
            for run in list(self._runs.values()):
                self._isolate(run, self._submit_steps, limit)
        except SchedulerUnavailableError as error:
            self._tell_disconnected(error)

    def _submit_steps(self, run: RunProgress, limit: int) -> None:
        if run.ending is not None:
            return
        if run.is_outdated:
            run.follow(run.graph, self._artifacts.has)
            self._reporter.warn_of_reused_steps(run)
        for _, step, result in self._submissions.submit(run, limit):
            self._record_result(run, step, result)
        self._has_more = self._has_more or bool(run.pending and len(run.submitted) < limit)

    def _take_outcome(self, key: str, outcome: Outcome) -> None:
        self._take_reports()  # an outcome is judged by whether its task was seen to begin
        for run_id, step, result in self._submissions.take(key, outcome):
            run = self._runs.get(run_id)
            if run is not None and run.ending is None:
                self._isolate(run, self._record_result, step, result)

    def _record_result(self, run: RunProgress, step: Step, result: StepResult) -> None:
        if result.fate == "done":
            self._reporter.step_done(run, step, result)
        elif result.fate == "failed":
            self._reporter.step_failed(step)
            self._fail(run, step, result.message)
        else:
            self._record_loss(run, step, result)

    def _fail(self, run: RunProgress, step: Step, message: str) -> None:
        """End a run one of whose steps failed; where the step is optional, warn the run instead."""
        if step.is_optional:
            run.abandon(step.key)
            self._reporter.warn(run, step, [explain(step, message)])
        else:
            self._end(run, "failed", explain(step, message))

    def _record_loss(self, run: RunProgress, step: Step, result: StepResult) -> None:
        self._reporter.step_lost(run, step, result)
        run.losses[step.name] += 1
        if run.losses[step.name] > MAX_LOSSES:
            self._fail(run, step, result.message)
        else:
            self._reporter.tell(run, f"{step.name} was lost and is tried again: {result.message}")

    # ---- what others see -------------------------------------------------------------------------------------------

    def _record(self, run: RunProgress) -> None:
        """Write down how far a run is, or how it ended."""
        if run.ending is not None:
            self._end(run, *run.ending)
        elif run.is_finished:
            self._end(run, "succeeded", None)
        else:
            self._reporter.write_now_and_then(run)

    def _count(self) -> None:
        if not self._runs or time.monotonic() - self._counted_at >= PUBLISH_S:
            self._counted_at = time.monotonic()
            self.metrics.n_ready, self.metrics.n_running = self._submissions.n_ready, self._submissions.n_running

    def _tell_connected(self) -> None:
        if not self._is_connected:
            self._is_connected = True
            self._tell_all("the Dask cluster is back")

    def _tell_disconnected(self, error: SchedulerUnavailableError) -> None:
        if self._is_connected:
            self._is_connected = False
            self._tell_all(f"{error}; finished work is kept, the run goes on as soon as it can")

    def _tell_all(self, text: str) -> None:
        for run in list(self._runs.values()):
            self._isolate(run, self._reporter.tell, text)
