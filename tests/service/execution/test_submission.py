"""Submission of runs, to a cluster that only notes what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import SchedulerUnavailableError
from service.execution.batching import Batch
from service.execution.dask.cluster import GPU_WORKER
from service.execution.dask.task import Outcome, TaskSpec
from service.execution.submission import MAX_KILLS, Submissions
from service.execution.worker import StepResult, perform
from service.settings import DataPaths
from service.stages.context import StepRequest
from service.stages.pipeline import build_graph
from service.workflow.inputs import RunInput, ScanInput
from service.workflow.progress import RunProgress
from storage.artifacts import ArtifactStore
from tasks.options.run import OPTIONS
from tasks.ptycho.scan import Canvas

DONE = Outcome("done", (StepResult("done", is_computed=True),))
TWO_ROUNDS = {"reconstruct": {"cycles": 20, "start_from": "optics"}, "kkr": {"start": 10, "every": 10}}


class NotedCluster:
    """What was submitted and not released, by key."""

    def __init__(self) -> None:
        self.n_gpus = 0
        self.is_up, self.is_new = True, False
        self.tasks: dict[str, TaskSpec] = {}
        self.released: list[str] = []

    def load_ahead(self) -> None:
        """Its workers load nothing."""

    def connect(self) -> bool:
        if not self.is_up:
            raise SchedulerUnavailableError("no Dask scheduler answers")
        is_new, self.is_new = self.is_new, False
        return is_new

    def submit(self, tasks: Sequence[TaskSpec], on_end: Callable[[str, Outcome], None]) -> None:
        assert self.tasks.keys().isdisjoint(task.key for task in tasks)
        self.tasks.update((task.key, task) for task in tasks)

    def release(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.released.append(key)
            del self.tasks[key]

    def key_of(self, name: str) -> str:
        """The key of the one task of a step."""
        (key,) = [
            key for key, task in self.tasks.items() if isinstance(task.request, StepRequest) and task.request.step.name == name
        ]
        return key

    def batches(self) -> dict[str, Batch]:
        return {key: task.request for key, task in self.tasks.items() if isinstance(task.request, Batch)}


class Setup:
    """Submissions over a noted cluster, and the runs that use them."""

    def __init__(self, folder: Path) -> None:
        self.cluster = NotedCluster()
        self.paths = DataPaths(folder / "datasets", folder / "units", folder / "runs")
        self.artifacts = ArtifactStore(self.paths.artifacts)
        self.runs: dict[str, RunProgress] = {}
        self.submissions = Submissions(self.cluster, self.paths, perform, self.runs, lambda key, outcome: None)

    def run(self, run_id: str, dataset: str = "ds_a", n_energies: int = 12, options: Any = TWO_ROUNDS) -> RunProgress:
        """A run, of two rounds unless the options say otherwise."""
        canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
        energies_ev = np.linspace(5420, 5540, n_energies)
        scans = tuple(ScanInput(f"s{e}", float(e), 16, 32, f"{dataset}{e}", canvas) for e in energies_ev)
        inputs = [RunInput(dataset, dataset, "g", "LiVO2", {"element": "V", "edge": "K"}, {}, scans)]
        run = self.runs[run_id] = RunProgress(run_id)
        run.follow(build_graph(inputs, OPTIONS.validate_python(options), run_id), self.artifacts.has)
        return run

    def submit(self, *runs: RunProgress, limit: int = 1000) -> None:
        for run in runs:
            if run.is_outdated:
                run.follow(run.graph, self.artifacts.has)
            self.submissions.submit(run, limit)

    def finish(self, key: str) -> list[tuple[str, str]]:
        """Compute a task: the run and the step of each of its outcomes."""
        request = self.cluster.tasks[key].request
        self.artifacts.write(request.step.key, {}, {})
        return [(run_id, step.name) for run_id, step, _ in self.submissions.take(key, DONE)]


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def names(cluster: NotedCluster, keys: Iterable[str]) -> set[str]:
    return {cluster.tasks[key].request.step.name for key in keys}


def test_a_run_is_one_graph_whose_tasks_depend_on_each_other_as_its_steps_do(setup: Setup) -> None:
    run = setup.run("run_1")
    setup.submit(run)
    assert len(setup.cluster.tasks) == len(run.graph.steps) == 33
    for task in setup.cluster.tasks.values():
        assert names(setup.cluster, task.inputs) == set(task.request.step.needs)
    assert all(key.startswith(f"ptyxas-{task.request.step.name}-") for key, task in setup.cluster.tasks.items())
    priorities = [task.priority for task in setup.cluster.tasks.values()]
    assert priorities == sorted(priorities, reverse=True)


def test_finished_steps_are_neither_submitted_nor_depended_upon(setup: Setup) -> None:
    first = setup.run("run_1")
    for name, step in first.graph.steps.items():
        if name.endswith("round1"):
            setup.artifacts.write(step.key, {}, {})
    run = setup.run("run_2")
    setup.submit(run)
    assert {task.request.step.name for task in setup.cluster.tasks.values()} == {
        name for name in run.graph.steps if not name.endswith("round1")
    }
    assert setup.cluster.tasks[setup.cluster.key_of("reconstruct-5420.0eV-round2")].inputs == ()


def test_no_more_steps_of_a_run_than_its_limit_are_with_the_cluster(setup: Setup) -> None:
    run = setup.run("run_1")
    setup.submit(run, limit=5)
    assert len(setup.cluster.tasks) == 5
    setup.finish(next(iter(setup.cluster.tasks)))
    setup.submit(run, limit=5)
    assert len(run.submitted) == 5
    for _ in range(26):
        setup.submit(run, limit=5)
        setup.finish(next(key for key, task in setup.cluster.tasks.items() if task.request.step.key in run.submitted))
    assert len(run.done) == 27


def test_a_step_of_two_runs_is_submitted_once_and_both_hear_of_it(setup: Setup) -> None:
    runs = setup.run("run_1"), setup.run("run_2")
    setup.submit(*runs)
    assert len(setup.cluster.tasks) == 35, "only the results and their figures are each run's own"
    key = setup.cluster.key_of("reconstruct-5420.0eV-round1")
    setup.submissions.note({"task": key, "begun": True})
    setup.submissions.note({"task": key, "unit": "reconstruct-5420.0eV-round1", "cycle": 1, "n_cycles": 4})
    assert [(run.running, run.shares) for run in runs] == [
        ({"reconstruct-5420.0eV-round1"}, {"reconstruct-5420.0eV-round1": 0.25})
    ] * 2
    assert setup.finish(key) == [("run_1", "reconstruct-5420.0eV-round1"), ("run_2", "reconstruct-5420.0eV-round1")]
    assert [(run.running, len(run.done)) for run in runs] == [(set(), 1)] * 2


def test_a_run_that_ends_takes_back_what_no_other_wants(setup: Setup) -> None:
    runs = setup.run("run_1"), setup.run("run_2"), setup.run("run_3", "ds_b")
    setup.submit(*runs)
    own = [runs[0].graph.steps[name] for name in ("results", "figures")]
    results = {key for key, task in setup.cluster.tasks.items() if task.request.step in own}
    setup.submissions.leave(runs[0])
    del setup.runs["run_1"]
    assert set(setup.cluster.released) == results
    setup.submissions.leave(runs[2])
    assert len(setup.cluster.tasks) == 33


def test_steps_that_are_not_in_the_graph_any_more_are_taken_back(setup: Setup) -> None:
    run, other = setup.run("run_1"), setup.run("run_2")
    setup.submit(run)
    n_tasks = len(setup.cluster.tasks)
    run.follow(setup.run("run_3", "ds_b").graph, setup.artifacts.has)
    setup.submissions.drop_unwanted(run)
    assert len(setup.cluster.released) == n_tasks
    setup.submit(run, other)
    assert {task.request.run_id for task in setup.cluster.tasks.values()} == {"run_1", "run_2"}


def test_what_another_run_finished_meanwhile_is_done_at_once(setup: Setup) -> None:
    run = setup.run("run_1")
    step = run.graph.steps["reconstruct-5420.0eV-round1"]
    setup.artifacts.write(step.key, {}, {})
    assert setup.submissions.submit(run, 1000) == [("run_1", step, StepResult("done"))]
    assert step.name in run.done
    assert len(setup.cluster.tasks) == 32


def test_a_lost_step_is_submitted_again_under_another_key_with_all_that_read_it(setup: Setup) -> None:
    run = setup.run("run_1")
    setup.submit(run)
    before = dict(setup.cluster.tasks)
    couple = setup.cluster.key_of("couple-round1")
    lost = Outcome("failed", (StepResult("lost", message="gone"),), blamed=couple)
    assert [(run_id, step.name, result.fate) for run_id, step, result in setup.submissions.take(couple, lost)] == [
        ("run_1", "couple-round1", "lost")
    ]
    assert names(setup.cluster, setup.cluster.tasks) == {f"reconstruct-{e}-round1" for e in energies(run)}
    setup.submit(run)
    assert len(setup.cluster.tasks) == 33
    assert setup.cluster.key_of("couple-round1") == f"{couple}-2"
    assert before.keys() & setup.cluster.tasks.keys() == {key for key in before if "round1" in key and "couple" not in key}


def energies(run: RunProgress) -> list[str]:
    return [name.split("-")[1] for name in run.graph.steps if name.endswith("round1") and name.startswith("reconstruct")]


def test_the_failure_of_an_input_is_no_failure_of_what_reads_it(setup: Setup) -> None:
    run = setup.run("run_1")
    setup.submit(run)
    first, couple = setup.cluster.key_of("reconstruct-5420.0eV-round1"), setup.cluster.key_of("couple-round1")
    failed = Outcome("failed", (StepResult("failed", message="no photons"),), blamed=first)
    assert setup.submissions.take(couple, failed) == []
    ((_, step, result),) = setup.submissions.take(first, failed)
    assert (step.name, result.message) == ("reconstruct-5420.0eV-round1", "no photons")
    assert setup.submissions.take(couple, failed) == [], "it was taken back with its input"


def test_what_reads_a_result_that_dask_lost_is_tried_again(setup: Setup) -> None:
    run = setup.run("run_1")
    setup.submit(run)
    first, couple = setup.cluster.key_of("reconstruct-5420.0eV-round1"), setup.cluster.key_of("couple-round1")
    setup.finish(first)
    ((_, step, result),) = setup.submissions.take(couple, Outcome("killed", message="its worker died", blamed=first))
    assert (step.name, result.fate) == ("couple-round1", "lost")


def test_a_task_whose_workers_died_is_to_blame_if_it_had_begun_or_if_they_died_again(setup: Setup) -> None:
    run = setup.run("run_1")
    setup.submit(run)
    began, waited = (setup.cluster.key_of(f"reconstruct-{energy}-round1") for energy in energies(run)[:2])
    setup.submissions.note({"task": began, "begun": True})
    ((*_, result),) = setup.submissions.take(began, Outcome("killed", message="out of memory", blamed=began))
    assert result.fate == "failed"
    for expected in ["lost"] * MAX_KILLS + ["failed"]:
        ((*_, result),) = setup.submissions.take(waited, Outcome("killed", message="out of memory", blamed=waited))
        assert result.fate == expected
        setup.submit(run)
        waited = setup.cluster.key_of(f"reconstruct-{energies(run)[1]}-round1")


def test_when_the_scheduler_is_gone_all_that_was_with_it_is_submitted_again(setup: Setup) -> None:
    run = setup.run("run_1")
    setup.submit(run)
    before = list(setup.cluster.tasks)
    setup.cluster.is_up = False
    for _ in range(2):
        with pytest.raises(SchedulerUnavailableError):
            setup.submissions.connect()
    assert (run.submitted, run.running, run.is_outdated) == (set(), set(), True)
    setup.cluster.is_up = setup.cluster.is_new = True
    setup.submissions.connect()
    setup.submit(run)
    assert list(setup.cluster.tasks) == [f"{key}-2" for key in before]


def test_services_on_one_scheduler_have_keys_of_their_own(tmp_path: Path) -> None:
    setups = Setup(tmp_path / "one"), Setup(tmp_path / "other")
    for setup in setups:
        setup.submit(setup.run("run_1"))
    assert setups[0].cluster.tasks.keys().isdisjoint(setups[1].cluster.tasks)


def test_a_worker_with_a_card_gets_all_energies_of_a_round_at_once(setup: Setup) -> None:
    setup.cluster.n_gpus = 1
    run = setup.run("run_1")
    setup.submit(run)
    rounds = setup.cluster.batches()
    assert [len(batch.requests) for batch in rounds.values()] == [12, 12]
    assert all(setup.cluster.tasks[key].resources == GPU_WORKER for key in rounds)
    first, second = rounds
    couple = setup.cluster.key_of("couple-round1")
    assert setup.cluster.tasks[couple].inputs == (first,)
    assert set(setup.cluster.tasks[second].inputs) == {first, couple}
    results = tuple(StepResult("done", is_computed=True, seconds=float(number)) for number in range(12))
    found = setup.submissions.take(first, Outcome("done", results))
    assert [(step, result) for _, step, result in found] == [
        (request.step, result) for request, result in zip(rounds[first].requests, results, strict=True)
    ]


def test_a_card_gets_the_reference_alone_and_then_all_that_start_from_it(setup: Setup) -> None:
    setup.cluster.n_gpus = 1
    run = setup.run("run_1", options={})
    setup.submit(run)
    (warm,) = setup.cluster.batches()
    reference = setup.cluster.key_of(next(iter(run.graph.steps)))
    assert len(setup.cluster.batches()[warm].requests) == 11
    assert setup.cluster.tasks[warm].inputs == (reference,)


def test_two_workers_with_cards_divide_the_energies(setup: Setup) -> None:
    setup.cluster.n_gpus = 2
    setup.submit(setup.run("run_1"))
    assert [len(batch.requests) for batch in setup.cluster.batches().values()] == [6, 6, 6, 6]


def test_of_a_batch_in_which_one_failed_the_others_are_done(setup: Setup) -> None:
    setup.cluster.n_gpus = 1
    run = setup.run("run_1")
    setup.submit(run)
    first = next(iter(setup.cluster.batches()))
    results = [StepResult("done", is_computed=True)] * 12
    results[3] = StepResult("lost", message="an input is gone")
    found = setup.submissions.take(first, Outcome("failed", tuple(results), blamed=first))
    assert [result.fate for *_, result in found].count("lost") == 1
    assert len(run.done) == 11
    assert run.is_outdated


def test_batches_are_formed_when_a_card_comes_and_dissolved_when_it_leaves(setup: Setup) -> None:
    run = setup.run("run_1")
    setup.submit(run)
    begun = setup.cluster.key_of("reconstruct-5420.0eV-round1")
    setup.submissions.note({"task": begun, "begun": True})
    setup.cluster.n_gpus = 1
    setup.submissions.connect()
    setup.submit(run)
    assert [len(batch.requests) for batch in setup.cluster.batches().values()] == [11, 12]
    assert begun in setup.cluster.tasks
    setup.cluster.n_gpus = 0
    setup.submissions.connect()
    setup.submit(run)
    assert setup.cluster.batches() == {}
    assert len(setup.cluster.tasks) == 33
