"""The run loop on a real cluster with small fake stages: runs end, survive, stop, share and fail alone."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from places import on_disk

from service.errors import InvalidInputError, SchedulerUnavailableError
from service.execution.dask.task import Outcome, TaskSpec
from service.execution.reporter import EVENTS_S, PUBLISH_S
from service.execution.worker import StepResult
from service.records.run_steps import numbers, short_keys
from service.settings import DataPaths
from service.stages.context import IsCancelled, Report, StepRequest
from service.stages.pipeline import build_graph, past_rounds
from service.workflow.inputs import RunInput
from storage.artifacts import ArtifactStore
from storage.errors import ArtifactMissingError, CatalogueUnavailableError
from tasks.options.run import OPTIONS, RunOptions

if TYPE_CHECKING:
    from service.execution.dask.cluster import Cluster
    from tests.service.execution.conftest import FakeWork, MakeBench, MakeInput

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

WAIT_S = 120.0
"""What is waited for takes a second, but half a minute on a machine that is busy with others."""
SHORT: dict[str, Any] = {"reconstruct": {"cycles": 20, "start_from": "optics"}, "kkr": {"start": 10, "every": 10}}
"""Options of a run of two rounds."""


def test_a_run_computes_every_step_once_and_records_it(make_bench: MakeBench, run_input: MakeInput) -> None:
    bench = make_bench()
    bench.submit("run_1", "a", **SHORT)
    view = bench.wait("run_1", "succeeded", "failed")
    assert view.state == "succeeded", view.error
    graph = build_graph([run_input()], OPTIONS.validate_python(SHORT), "run_1")
    assert sorted(bench.computed()) == sorted(step.key for step in graph.steps.values())
    assert view.progress == 1.0
    assert {stage.name for stage in view.stages if stage.state != "done"} == {"orientation", "references"}  # given, not given
    events = bench.records.events("run_1", 0)
    assert [e.data["state"] for e in events if e.kind == "state"] == ["queued", "running", "succeeded"]
    assert sum(e.kind == "unit" and e.data["computed"] for e in events) == len(graph.steps)
    assert bench.records.events("run_1", events[3].id) == events[4:]
    bench.runner.stop()
    past = past_rounds(graph)
    needed = {step.key for step in graph.steps.values()} - past
    inputs, steps = bench.kept_steps.noted["run_1"]
    assert inputs == [run_input()]
    assert set(numbers([steps.needed])) == set(numbers([short_keys(needed)]))
    assert set(numbers([steps.past])) == set(numbers([short_keys(past)]))
    metrics = bench.runner.metrics
    assert metrics.steps["reconstruct", "computed"] == 24
    assert {fate for _, fate in metrics.steps} == {"computed"}
    assert sum(metrics.steps.values()) == len(graph.steps)
    assert (metrics.n_ready, metrics.n_running) == (0, 0)


def test_the_barrier_holds_the_second_round_back(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "succeeded")
    stages = [line[2] for line in bench.log()]
    assert stages[:12] == ["reconstruct"] * 12
    assert stages[12] == "couple"
    assert stages[13:25] == ["reconstruct"] * 12


def test_other_options_of_the_domains_compute_only_domains_figures_and_results(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "succeeded")
    n_before = len(bench.log())
    bench.submit("run_2", "a", **SHORT, domains={"n_domains": 3})
    bench.wait("run_2", "succeeded")
    stages = [line[2] for line in bench.log()[n_before:]]
    assert (stages[0], sorted(stages[1:]), stages[-1]) == ("domains", ["figures", "figures", "results"], "figures")


def test_a_failed_step_fails_the_run_with_its_reason_and_a_retry_goes_on(make_bench: MakeBench, fake_work: FakeWork) -> None:
    bench = make_bench(fake_work(fail="reconstruct-5450.0eV-round1"))
    bench.submit("run_1", "a", **SHORT)
    error = bench.wait("run_1", "failed").error
    assert error is not None
    assert "reconstruct at 5450.0 eV" in error
    assert "the sky fell down" in error
    n_kept = len(bench.log())
    bench.runner.stop()
    mended = make_bench()
    assert mended.view("run_1").state == "failed"
    mended.paths.lower_stop_flag("run_1")
    assert mended.records.reopen_run("run_1")
    mended.runner.wake()
    assert mended.wait("run_1", "succeeded").error is None
    keys = mended.computed()
    assert len(keys) == len(set(keys)) > n_kept


@pytest.mark.parametrize("how", ["fail", "poison"])
def test_a_run_whose_figures_fail_succeeds_with_a_warning(make_bench: MakeBench, fake_work: FakeWork, how: str) -> None:
    bench = make_bench(fake_work(**{how: "figures"}))
    bench.submit("run_1", "a", reconstruct={"cycles": 1}, kkr={"mode": "off"})
    view = bench.wait("run_1", "succeeded", "failed")
    assert (view.state, view.error, view.progress) == ("succeeded", None, 1.0)
    note = next(stage.note for stage in view.stages if stage.name == "figures")
    assert note is not None
    assert note.startswith("figures failed: ")
    assert note in bench.messages()
    computed = [stage for _, _, stage in bench.log()]
    assert (computed.count("results"), computed.count("figures")) == (1, 2), "of the figures, the parts that are drawn ahead"


@pytest.mark.parametrize(("how", "part"), [("fail", "ungrouped"), ("poison", "grouped")])
def test_a_run_of_which_a_part_of_the_figures_fails_has_the_others(
    make_bench: MakeBench, fake_work: FakeWork, how: str, part: str
) -> None:
    bench = make_bench(fake_work(**{how: f"figures-{part}"}))
    bench.submit("run_1", "a", reconstruct={"cycles": 1}, kkr={"mode": "off"})
    view = bench.wait("run_1", "succeeded", "failed")
    assert (view.state, view.error, view.progress) == ("succeeded", None, 1.0)
    assert any(text.startswith(f"figures (figures-{part}) failed: ") for text in bench.messages())
    assert bench.log()[-1][2] == "figures"


def test_cancelling_stops_running_steps_within_two_seconds(
    make_bench: MakeBench, fake_work: FakeWork, run_input: MakeInput, wait_for_idle_workers: Callable[..., None]
) -> None:
    """Or, on a machine that is busy with others, within twice the time that a short run takes there."""
    idle = make_bench(one=run_input(1, "one"))
    limit_s = max(2.0, 2 * idle.seconds_of_a_run("run_0", "one"))
    idle.runner.stop()
    bench = make_bench(fake_work(seconds=600))
    before = bench.log()
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "running")
    until = time.monotonic() + WAIT_S
    while bench.view("run_1").progress == 0 and time.monotonic() < until:
        time.sleep(0.05)
    assert bench.view("run_1").progress > 0, "no step reported its progress"
    bench.cancel("run_1")
    bench.wait("run_1", "cancelled", timeout=limit_s)
    wait_for_idle_workers(timeout=limit_s)
    assert bench.log() == before


def test_a_run_that_is_cancelled_as_soon_as_it_was_submitted_computes_nothing_more(
    make_bench: MakeBench, fake_work: FakeWork, run_input: MakeInput, wait_for_idle_workers: Callable[..., None]
) -> None:
    bench = make_bench(fake_work(seconds=0.2), a=run_input(40))
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "running")
    bench.cancel("run_1")
    bench.wait("run_1", "cancelled")
    wait_for_idle_workers()
    n_computed = len(bench.log())
    time.sleep(3)
    assert len(bench.log()) <= n_computed + 2
    wait_for_idle_workers(timeout=1)


def test_a_worker_that_is_killed_costs_only_its_step(make_bench: MakeBench, fake_work: FakeWork, cluster: Cluster) -> None:
    bench = make_bench(fake_work(seconds=0.2))
    bench.submit("run_1", "a", **SHORT)
    bench.wait_for_steps(3)
    assert cluster._client is not None
    (pid, *_) = cluster._client.run(os.getpid).values()
    os.kill(pid, signal.SIGKILL)
    bench.wait("run_1", "succeeded")
    keys = bench.computed()
    assert len(keys) == len(set(keys))


def test_a_step_that_kills_every_worker_fails_the_run(make_bench: MakeBench, fake_work: FakeWork) -> None:
    bench = make_bench(fake_work(poison="couple-round1"))
    bench.submit("run_1", "a", **SHORT)
    error = bench.wait("run_1", "failed").error
    assert error is not None
    assert "couple" in error
    assert "memory" in error


def test_a_restarted_run_loop_goes_on_and_computes_nothing_twice(
    make_bench: MakeBench, fake_work: FakeWork, wait_for_idle_workers: Callable[..., None]
) -> None:
    bench = make_bench(fake_work(seconds=0.1))
    bench.submit("run_1", "a", **SHORT)
    bench.wait_for_steps(5)
    bench.runner.stop()
    assert bench.view("run_1").state == "running"
    wait_for_idle_workers()
    again = make_bench()
    again.wait("run_1", "succeeded")
    keys = again.computed()
    assert len(keys) == len(set(keys))


def test_a_short_run_ends_before_a_long_one_that_began_earlier(
    make_bench: MakeBench, fake_work: FakeWork, run_input: MakeInput
) -> None:
    bench = make_bench(fake_work(seconds=0.05), long=run_input(60, "long"), short=run_input(1, "short"))
    bench.submit("run_long", "long", reconstruct={"cycles": 100}, kkr={"start": 10, "every": 10})
    bench.wait_for_steps(4)
    bench.submit("run_short", "short", reconstruct={"cycles": 10})
    bench.wait("run_short", "succeeded")
    assert bench.view("run_long").state == "running"
    bench.cancel("run_long")
    bench.wait("run_long", "cancelled")


def test_two_runs_that_want_the_same_step_compute_it_once(make_bench: MakeBench, fake_work: FakeWork) -> None:
    bench = make_bench(fake_work(seconds=0.05))
    bench.submit("run_1", "a", **SHORT)
    bench.submit("run_2", "a", **SHORT)
    for run_id in ("run_1", "run_2"):
        bench.wait(run_id, "succeeded")
    keys = bench.computed()
    assert len(keys) == len(set(keys))


def test_a_step_that_another_run_wants_goes_on_when_its_run_is_cancelled(make_bench: MakeBench, fake_work: FakeWork) -> None:
    bench = make_bench(fake_work(seconds=4, slow="couple"))
    bench.submit("run_1", "a", **SHORT)
    bench.submit("run_2", "a", **SHORT)
    first = bench.wait_for_beginning("couple")
    second = {"run_1": "run_2", "run_2": "run_1"}[first]
    bench.cancel(first)
    bench.wait(first, "cancelled")
    bench.wait(second, "succeeded")
    assert bench.begun_by("couple") == [first], "the barrier was begun again"
    assert bench.runner.metrics.steps["couple", "lost"] == 0
    assert [line[1] for line in bench.log() if line[2] == "couple"] == [first]


def test_a_live_run_takes_energies_as_they_arrive_and_ends_after_the_seal(make_bench: MakeBench, run_input: MakeInput) -> None:
    bench = make_bench(a=run_input(3, is_open=True))
    bench.submit("run_1", "a", **SHORT)
    bench.wait_for_steps(3)
    assert [line[2] for line in bench.log()] == ["reconstruct"] * 3
    assert bench.view("run_1").state == "running"
    bench.datasets["a"] = run_input(12, is_open=True)
    bench.runner.wake()
    bench.wait_for_steps(12)
    bench.datasets["a"] = dataclasses.replace(bench.datasets["a"], is_open=False)
    bench.runner.wake()
    bench.wait("run_1", "succeeded")
    keys = bench.computed()
    assert len(keys) == len(set(keys)) > 24


def test_a_live_run_whose_dataset_turns_out_impossible_fails_with_the_reason(
    make_bench: MakeBench, run_input: MakeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(a=run_input(3, is_open=True))
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "running")

    def refuse(ids: Sequence[str], options: RunOptions) -> list[RunInput]:
        raise InvalidInputError("3 energies are too few")

    monkeypatch.setattr(bench.runner, "_load_inputs", refuse)
    bench.runner.wake()
    assert "too few" in str(bench.wait("run_1", "failed").error)


def test_a_run_that_is_planned_for_long_holds_up_no_other_and_can_be_cancelled(
    make_bench: MakeBench, run_input: MakeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(slow=run_input(12, "slow"), a=run_input())
    release, load = threading.Event(), bench.load

    def wait(ids: Sequence[str], options: RunOptions) -> list[RunInput]:
        assert "slow" not in ids or release.wait(WAIT_S)
        return load(ids, options)

    monkeypatch.setattr(bench.runner, "_load_inputs", wait)
    bench.submit("run_slow", "slow", **SHORT)
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "succeeded")
    assert bench.records.end_run("run_slow", "cancelled", None, ("queued",))
    bench.records.delete("run_slow")
    release.set()
    bench.submit("run_2", "a", **SHORT)
    bench.wait("run_2", "succeeded")
    assert {line[1] for line in bench.log()} == {"run_1", "run_2"}


def test_what_a_run_stored_can_be_read_by_others(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "succeeded")
    # rounds before the last are being removed since the run succeeded
    store, kept = ArtifactStore(bench.paths.artifacts), []
    for key in bench.computed():
        with contextlib.suppress(ArtifactMissingError):
            kept.append(store.read(key)["x"])
    assert kept
    assert all(np.array_equal(x, np.ones(3)) for x in kept)
    assert threading.active_count() < 60


def spoil_measurement(spoiled: RunInput) -> RunInput:
    """A dataset whose steps have no key, because JSON has no infinity."""
    scans = tuple(dataclasses.replace(scan, energy_ev=float("inf")) for scan in spoiled.scans)
    return dataclasses.replace(spoiled, scans=scans)


def test_a_run_that_cannot_be_wired_fails_alone(make_bench: MakeBench, run_input: MakeInput) -> None:
    bench = make_bench(spoiled=spoil_measurement(run_input(12, "spoiled")), a=run_input())
    bench.submit("run_spoiled", "spoiled", **SHORT)
    bench.submit("run_unknown", "nowhere", **SHORT)
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "succeeded")
    assert "ValueError" in str(bench.wait("run_spoiled", "failed").error)
    assert "KeyError" in str(bench.wait("run_unknown", "failed").error)
    assert bench.records.unfinished_runs() == []


def test_a_live_run_that_cannot_grow_fails_alone(make_bench: MakeBench, fake_work: FakeWork, run_input: MakeInput) -> None:
    bench = make_bench(fake_work(seconds=0.1), live=run_input(2, "live", is_open=True), a=run_input())
    bench.submit("run_live", "live", **SHORT)
    bench.submit("run_1", "a", **SHORT)
    bench.wait_for_steps(3)
    bench.datasets["live"] = spoil_measurement(bench.datasets["live"])
    bench.runner.wake()
    assert "ValueError" in str(bench.wait("run_live", "failed").error)
    bench.wait("run_1", "succeeded")


@pytest.mark.parametrize("method", ["write_progress", "begin_run", "warnings"])
def test_a_run_that_cannot_be_recorded_fails_alone(
    make_bench: MakeBench, run_input: MakeInput, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    bench = make_bench(broken=run_input(12, "broken"), a=run_input())
    record = getattr(bench.records, method)

    def refuse(run_id: str, *arguments: object) -> object:
        if run_id == "run_broken":
            raise ValueError("half a surrogate pair: \ud800")
        return record(run_id, *arguments)

    monkeypatch.setattr(bench.records, method, refuse)
    bench.submit("run_broken", "broken", **SHORT)
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "succeeded")
    assert "half a surrogate pair" in str(bench.wait("run_broken", "failed").error)


def test_a_run_whose_end_cannot_be_recorded_holds_up_no_other(
    make_bench: MakeBench, run_input: MakeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(broken=run_input(1, "broken"), a=run_input())
    end_run, refusals = bench.records.end_run, iter(range(3))

    def refuse(run_id: str, *arguments: Any) -> bool:
        if run_id == "run_broken" and next(refusals, None) is not None:
            bench.runner.wake()
            raise ValueError("its row is locked")
        return end_run(run_id, *arguments)

    monkeypatch.setattr(bench.records, "end_run", refuse)
    bench.submit("run_broken", "broken", **SHORT)
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "succeeded")
    assert bench.wait("run_broken", "succeeded", "failed").error is None
    assert next(refusals, None) is None


class Flaky:
    """A cluster whose scheduler can be taken away: what it was given is then lost without a word."""

    n_gpus = 0

    def __init__(self) -> None:
        self.is_up = True
        self.is_new = False
        self.given: dict[str, tuple[StepRequest, set[str], Callable[[Outcome], None]]] = {}

    def connect(self) -> bool:
        if not self.is_up:
            raise SchedulerUnavailableError("no Dask scheduler answers at tcp://nowhere")
        is_new, self.is_new = self.is_new, False
        return is_new

    def load_ahead(self) -> None:
        """It has no workers."""

    def submit(self, tasks: Sequence[TaskSpec], on_end: Callable[[str, Outcome], None]) -> None:
        for task in tasks:
            self.given[task.key] = (task.request, {key for key in task.inputs if key in self.given}, partial(on_end, task.key))

    def release(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.given.pop(key, None)

    def work(self, paths: DataPaths) -> None:
        """Compute whatever has all its inputs."""
        ready = [key for key, (_, inputs, _) in self.given.items() if inputs.isdisjoint(self.given)]
        for key in ready:
            request, _, on_end = self.given.pop(key)
            ArtifactStore(paths.artifacts).write(request.step.key, {}, {})
            on_end(Outcome("done", (StepResult("done", is_computed=True),)))


def test_a_lost_scheduler_is_waited_for_and_what_was_with_it_is_submitted_again(
    make_bench: MakeBench, run_input: MakeInput
) -> None:
    flaky = Flaky()
    bench = make_bench(None, flaky, a=run_input(1))
    bench.submit("run_1", "a", **SHORT)
    until = time.monotonic() + WAIT_S
    while not flaky.given and time.monotonic() < until:
        time.sleep(0.02)
    flaky.given.clear()
    flaky.is_up = False
    while not bench.messages() and time.monotonic() < until:
        time.sleep(0.02)
    assert "goes on as soon as it can" in bench.messages()[0]
    assert bench.view("run_1").state == "running"
    flaky.is_up = flaky.is_new = True
    while bench.view("run_1").state == "running" and time.monotonic() < until:
        flaky.work(bench.paths)
        time.sleep(0.02)
    bench.runner.stop()
    assert bench.view("run_1").state == "succeeded"
    assert bench.messages()[1:] == ["the Dask cluster is back"]


WARNINGS = {
    "reconstruct-5450.0eV-round1": "5450.0 eV: R has settled",
    "reconstruct-5450.0eV-round2": "5450.0 eV: R has settled",
    "spectra": "5470.0 eV: R 0.05 is 5.0 times its neighbours'",
}
TOLD = [WARNINGS["reconstruct-5450.0eV-round1"], WARNINGS["spectra"]]


def test_a_run_that_reuses_results_is_told_their_warnings(make_bench: MakeBench, fake_work: FakeWork) -> None:
    bench = make_bench(fake_work(warnings=WARNINGS))
    bench.submit("run_1", "a", **SHORT)
    first = bench.wait("run_1", "succeeded")
    assert bench.messages() == TOLD
    bench.submit("run_2", "a", **SHORT, domains={"n_domains": 3})
    second = bench.wait("run_2", "succeeded")
    assert bench.messages("run_2") == TOLD
    assert [stage.note for stage in second.stages] == [stage.note for stage in first.stages]
    computed = [event.data["stage"] for event in bench.records.events("run_2", 0) if event.kind == "unit"]
    assert sorted(computed) == ["domains", "figures", "figures", "results"]


def test_a_run_is_told_what_was_assumed_about_its_scans(make_bench: MakeBench, run_input: MakeInput) -> None:
    assumed = dataclasses.replace(run_input(1), warnings=("no probe is described",))
    bench = make_bench(a=assumed)
    bench.submit("run_1", "a", reconstruct={"cycles": 1})
    bench.wait("run_1", "succeeded")
    assert bench.messages() == [f"{assumed.title}: no probe is described"]


def test_a_run_beside_the_one_that_computes_is_told_as_well(make_bench: MakeBench, fake_work: FakeWork) -> None:
    bench = make_bench(fake_work(seconds=0.05, warnings=WARNINGS))
    for run_id in ("run_1", "run_2"):
        bench.submit(run_id, "a", **SHORT)
    for run_id in ("run_1", "run_2"):
        bench.wait(run_id, "succeeded")
    assert bench.messages("run_2") == bench.messages() == TOLD


def test_a_restarted_run_loop_tells_no_warning_twice_and_keeps_those_of_the_stages(
    make_bench: MakeBench, fake_work: FakeWork
) -> None:
    work = fake_work(seconds=0.05, warnings=WARNINGS)
    bench = make_bench(work)
    bench.submit("run_1", "a", **SHORT)
    bench.wait_for_steps(13)
    bench.runner.stop()
    again = make_bench(work)
    view = again.wait("run_1", "succeeded")
    assert again.messages() == TOLD
    assert {stage.name: stage.note for stage in view.stages}["reconstruct"] == TOLD[0]


def test_a_result_that_was_removed_while_a_run_counted_on_it_is_computed_again(
    make_bench: MakeBench, fake_work: FakeWork
) -> None:
    plain = fake_work()

    def work(request: StepRequest, report: Report, is_cancelled: IsCancelled) -> StepResult | Sequence[StepResult]:
        from service.execution.worker import StepResult
        from storage.artifacts import ArtifactStore

        store, once = ArtifactStore(request.paths.artifacts), on_disk(request.paths.runs) / "removed"
        if request.step.stage == "couple" and not once.exists():
            once.touch()
            store.delete(request.step.inputs[0])
        if not all(store.has(key) for key in request.step.inputs):
            return StepResult("lost", message="a step is not finished")
        return plain(request, report, is_cancelled)

    bench = make_bench(work)
    bench.submit("run_1", "a", **SHORT)
    assert bench.wait("run_1", "succeeded", "failed").error is None
    assert [line[2] for line in bench.log()][:14] == ["reconstruct"] * 13 + ["couple"]
    assert bench.runner.metrics.steps["couple", "lost"] == 1


def test_a_catalogue_that_is_out_of_reach_fails_no_run(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make_bench()
    outages = iter(range(5))

    def out_of_reach_at_first(write: Callable[..., None]) -> Callable[..., None]:
        def written(run_id: str, *what: Any) -> None:
            if any(event.kind == "unit" for event in what[-1]) and next(outages, None) is not None:
                raise CatalogueUnavailableError("database is locked")
            write(run_id, *what)

        return written

    for name in ("add_events", "write_progress"):
        monkeypatch.setattr(bench.records, name, out_of_reach_at_first(getattr(bench.records, name)))
    bench.submit("run_1", "a", **SHORT)
    assert bench.wait("run_1", "succeeded", "failed").error is None
    assert next(outages, None) is None
    told = [event.data["unit"] for event in bench.records.events("run_1", 0) if event.kind == "unit"]
    assert len(told) == len(set(told)) == len(bench.computed()), "what could not be written is written later, and once"


def test_many_small_steps_are_written_down_together(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, n_writes = make_bench(), Counter[str]()

    def counted(name: str) -> Callable[..., None]:
        write = getattr(bench.records, name)

        def count(run_id: str, *what: Any) -> None:
            n_writes[name] += bool(what[-1])
            write(run_id, *what)

        return count

    for name in ("add_events", "write_progress"):
        monkeypatch.setattr(bench.records, name, counted(name))
    began = time.monotonic()
    bench.submit("run_1", "a", **SHORT)
    assert bench.wait("run_1", "succeeded").error is None
    taken = time.monotonic() - began
    assert n_writes.total() <= taken / EVENTS_S + taken / PUBLISH_S + 4
    told = [event for event in bench.records.events("run_1", 0) if event.kind == "unit"]
    assert len(told) == len(bench.computed())
