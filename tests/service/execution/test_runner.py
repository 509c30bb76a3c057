"""The wheel on a real cluster with small fake stages: it finishes, survives, stops, shares."""

import dataclasses
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from service.errors import InvalidInputError, SchedulerUnavailableError
from service.execution.cluster import Cluster, Outcome
from service.execution.runner import Runner
from service.execution.worker import StepResult
from service.records.run_repository import RunRepository
from service.settings import Settings
from service.stages.context import DataPaths
from service.stages.pipeline import build_graph
from service.workflow.inputs import RunInput, ScanInput
from storage.artifacts import ArtifactStore
from storage.catalogue.catalogue import Catalogue
from tasks.options import RunOptions
from tasks.ptycho.scan import Canvas

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def facts(n_energies=12, name="ds_a", is_open=False):
    canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"s{i}", 5420.0 + 10 * i, 16, 32, f"{name}{i}", canvas) for i in range(n_energies))
    return RunInput(name, name, "g", "LiVO2", {"element": "V", "edge": "K"}, {}, scans, is_open)


def make_work(seconds: float = 0.0, fail: str = "", poison: str = "", remarks: dict[str, str] | None = None):
    """A stand-in for `worker.perform`: writes a small array under the key, and logs that; ``remarks`` by unit."""

    def work(call, report, is_cancelled):
        import os
        import time

        import numpy as np

        from service.execution.worker import StepResult
        from storage.artifacts import ArtifactStore

        store = ArtifactStore(call.paths.artifacts)
        if store.has(call.step.key):
            return StepResult("done")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            report({"run_id": call.run_id, "unit": call.step.name, "cycle": 1, "n_cycles": 2, "error": 0.1})
            if is_cancelled():
                return StepResult("cancelled")
            time.sleep(0.02)
        if fail and call.step.name == fail:
            return StepResult("failed", message="the sky fell down")
        if poison and call.step.name == poison:
            os._exit(1)
        notes = [text for name, text in (remarks or {}).items() if name == call.step.name]
        store.write(call.step.key, {"x": np.ones(3)}, {"pid": os.getpid(), "warnings": notes})
        # one file a line: appending to one file from several processes may lose lines
        line = f"{time.time_ns()} {call.step.key} {call.run_id} {call.step.stage}"
        (call.paths.runs / f"{line}.log").touch()
        return StepResult("done", is_computed=True, seconds=seconds)

    return work


class Bench:
    """One orchestrator with its catalogue and folders, over a cluster shared by all tests."""

    def __init__(self, tmp_path: Path, cluster: Cluster, hear, work, datasets):
        self.places = DataPaths(tmp_path / "datasets", tmp_path / "units", tmp_path / "runs")
        self.places.runs.mkdir(exist_ok=True)
        self.catalogue = Catalogue(f"sqlite:///{tmp_path}/catalogue.sqlite")
        self.ledger = RunRepository(self.catalogue)
        self.datasets = datasets
        self.cluster = cluster
        self.wheel = Runner(self.ledger, self.places, self.load, work)
        hear.append(self.wheel.hear_progress)

    def load(self, ids, options):
        return [self.datasets[name] for name in ids]

    def submit(self, run_id, *ids, **options):
        self.ledger.open_run(run_id, run_id, ids, TypeAdapter(RunOptions).validate_python(options))
        self.wheel.nudge()

    def wait(self, run_id, *states, timeout=30):
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            view = self.ledger.view(run_id)
            if view.state in states:
                return view
            time.sleep(0.02)
        raise AssertionError(f"{run_id} is {view.state} ({view.error}), {view.stages}")

    def wait_for_units(self, n, timeout=30):
        """Wait until ``n`` units have been computed."""
        until = time.monotonic() + timeout
        while len(self.log()) < n and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.log()) >= n, [(w.in_flight, w.stages()) for w in self.wheel._walks.values()]

    def wait_for_idle_workers(self, timeout=30):
        """Wait until no worker has anything to do."""
        until = time.monotonic() + timeout
        while any(self.cluster._client.processing().values()) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(self.cluster._client.processing().values())

    def log(self):
        """Key, run and stage of every unit computed, in order."""
        return [path.stem.split()[1:] for path in sorted(self.places.runs.glob("*.log"))]


@pytest.fixture(scope="module")
def cluster_and_ears(tmp_path_factory):
    ears = []
    settings = Settings(data_dir=tmp_path_factory.mktemp("dask"), workers=2, dashboard_port=0)
    cluster = Cluster(settings, lambda progress: [hear(progress) for hear in ears])
    cluster.start()
    yield cluster, ears
    cluster.stop()


@pytest.fixture
def make_bench(tmp_path, cluster_and_ears):
    cluster, ears = cluster_and_ears
    benches = []

    def make(work=None, **datasets):
        bench = Bench(tmp_path, cluster, ears, work or make_work(), datasets or {"a": facts()})
        benches.append(bench)
        bench.wheel.start(cluster)
        return bench

    yield make
    ears.clear()
    for bench in benches:
        bench.wheel.stop()
        bench.catalogue.close()


SHORT = {"reconstruct": {"cycles": 20}, "kkr": {"start": 10, "every": 10}}


def test_a_run_computes_every_unit_once_and_tells_of_it(make_bench):
    bench = make_bench()
    bench.submit("run_1", "a", **SHORT)
    view = bench.wait("run_1", "succeeded", "failed")
    assert view.state == "succeeded", view.error
    keys = [line[0] for line in bench.log()]
    graph = build_graph([facts()], TypeAdapter(RunOptions).validate_python(SHORT), "run_1")
    assert sorted(keys) == sorted(unit.key for unit in graph.steps.values())
    assert view.progress == 1.0
    assert {stage.name for stage in view.stages if stage.state != "done"} == {"orientation", "references"}  # given, not given
    events = bench.ledger.events("run_1", 0)
    assert [e.data["state"] for e in events if e.kind == "state"] == ["queued", "running", "succeeded"]
    assert sum(e.kind == "unit" and e.data["computed"] for e in events) == len(keys)
    assert bench.ledger.events("run_1", events[3].id) == events[4:]
    bench.wheel.stop()
    meter = bench.wheel.meter
    assert meter.units["reconstruct", "computed"] == 24
    assert {fate for _, fate in meter.units} == {"computed"}
    assert sum(meter.units.values()) == len(keys)
    assert (meter.n_ready, meter.n_in_flight) == (0, 0)


def test_the_barrier_holds_the_second_round_back(make_bench):
    bench = make_bench()
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "succeeded")
    stages = [line[2] for line in bench.log()]
    assert stages[:12] == ["reconstruct"] * 12
    assert stages[12] == "couple"
    assert stages[13:25] == ["reconstruct"] * 12


def test_other_domains_options_compute_only_domains_figures_and_results(make_bench):
    bench = make_bench()
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "succeeded")
    n_before = len(bench.log())
    bench.submit("run_2", "a", **SHORT, domains={"n_domains": 3})
    bench.wait("run_2", "succeeded")
    assert [line[2] for line in bench.log()[n_before:]] == ["domains", "figures", "results"]


def test_a_failed_unit_fails_the_run_in_plain_words_and_a_retry_goes_on(make_bench, tmp_path):
    bench = make_bench(make_work(fail="reconstruct-5450.0eV-round1"))
    bench.submit("run_1", "a", **SHORT)
    view = bench.wait("run_1", "failed")
    assert "reconstruct at 5450.0 eV" in view.error
    assert "the sky fell down" in view.error
    n_kept = len(bench.log())
    bench.wheel.stop()
    mended = make_bench()
    assert mended.ledger.view("run_1").state == "failed"
    mended.places.lower_stop_flag("run_1")
    assert mended.ledger.reopen_run("run_1")
    mended.wheel.nudge()
    assert mended.wait("run_1", "succeeded").error is None
    keys = [line[0] for line in mended.log()]
    assert len(keys) == len(set(keys)) > n_kept


def test_cancelling_stops_units_at_work_within_two_seconds(make_bench):
    bench = make_bench(make_work(seconds=60))
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "running")
    until = time.monotonic() + 10
    while bench.ledger.view("run_1").progress == 0 and time.monotonic() < until:
        time.sleep(0.05)
    assert bench.ledger.view("run_1").progress > 0, "no unit reported its progress"
    bench.places.raise_stop_flag("run_1")
    bench.wheel.nudge()
    bench.wait("run_1", "cancelled", timeout=2)
    bench.wait_for_idle_workers(timeout=2)
    assert bench.log() == []


def test_a_worker_that_is_killed_costs_only_its_unit(make_bench, cluster_and_ears):
    bench = make_bench(make_work(seconds=0.2))
    bench.submit("run_1", "a", **SHORT)
    bench.wait_for_units(3)
    (pid, *_) = bench.cluster._client.run(os.getpid).values()
    os.kill(pid, signal.SIGKILL)
    bench.wait("run_1", "succeeded")
    keys = [line[0] for line in bench.log()]
    assert len(keys) == len(set(keys))


def test_a_unit_that_kills_every_worker_fails_the_run(make_bench):
    bench = make_bench(make_work(poison="couple-round1"))
    bench.submit("run_1", "a", **SHORT)
    view = bench.wait("run_1", "failed", timeout=60)
    assert "couple" in view.error
    assert "memory" in view.error


def test_a_restarted_wheel_goes_on_and_computes_nothing_twice(make_bench):
    bench = make_bench(make_work(seconds=0.1))
    bench.submit("run_1", "a", **SHORT)
    bench.wait_for_units(5)
    bench.wheel.stop()
    assert bench.ledger.view("run_1").state == "running"
    bench.wait_for_idle_workers()  # units in flight end without anyone to hear of it
    again = make_bench()
    again.wait("run_1", "succeeded")
    keys = [line[0] for line in again.log()]
    assert len(keys) == len(set(keys))


def test_a_short_run_is_not_stuck_behind_a_long_one(make_bench):
    bench = make_bench(make_work(seconds=0.05), long=facts(60, "long"), short=facts(1, "short"))
    bench.submit("run_long", "long", reconstruct={"cycles": 100}, kkr={"start": 10, "every": 10})
    bench.wait_for_units(4)
    bench.submit("run_short", "short", reconstruct={"cycles": 10})
    bench.wait("run_short", "succeeded", timeout=10)
    assert bench.ledger.view("run_long").state == "running"
    bench.places.raise_stop_flag("run_long")
    bench.wheel.nudge()
    bench.wait("run_long", "cancelled", timeout=5)


def test_two_runs_that_want_the_same_unit_compute_it_once(make_bench):
    bench = make_bench(make_work(seconds=0.05))
    bench.submit("run_1", "a", **SHORT)
    bench.submit("run_2", "a", **SHORT)
    for run_id in ("run_1", "run_2"):
        bench.wait(run_id, "succeeded")
    keys = [line[0] for line in bench.log()]
    assert len(keys) == len(set(keys))


def test_a_live_run_takes_energies_as_they_arrive_and_ends_after_the_seal(make_bench):
    bench = make_bench(a=facts(3, is_open=True))
    bench.submit("run_1", "a", **SHORT)
    bench.wait_for_units(3)
    assert [line[2] for line in bench.log()] == ["reconstruct"] * 3
    assert bench.ledger.view("run_1").state == "running"
    bench.datasets["a"] = facts(12, is_open=True)
    bench.wheel.nudge()
    bench.wait_for_units(12)
    bench.datasets["a"] = dataclasses.replace(bench.datasets["a"], is_open=False)
    bench.wheel.nudge()
    bench.wait("run_1", "succeeded")
    keys = [line[0] for line in bench.log()]
    assert len(keys) == len(set(keys)) > 24


def test_a_live_run_whose_dataset_turns_out_impossible_fails_with_the_reason(make_bench):
    bench = make_bench(a=facts(3, is_open=True))
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "running")

    def refuse(ids, options):
        raise InvalidInputError("3 energies are too few")

    bench.wheel._load_facts = refuse
    bench.wheel.nudge()
    assert "too few" in bench.wait("run_1", "failed").error


def test_what_the_wheel_wrote_can_be_read_by_others(make_bench):
    bench = make_bench()
    bench.submit("run_1", "a", **SHORT)
    bench.wait("run_1", "succeeded")
    key = bench.log()[0][0]
    assert np.array_equal(ArtifactStore(bench.places.artifacts).read(key)["x"], np.ones(3))
    assert threading.active_count() < 60


class Flaky:
    """A workforce whose scheduler can be taken away: what it was given is then lost without a word."""

    n_slots = 2
    n_gpus = 0

    def __init__(self, places):
        self.store = ArtifactStore(places.artifacts)
        self.is_up = True
        self.is_new = False
        self.given = []

    def connect(self):
        if not self.is_up:
            raise SchedulerUnavailableError("no Dask scheduler answers at tcp://nowhere")
        is_new, self.is_new = self.is_new, False
        return is_new

    def submit(self, name, work, call, on_end):
        self.given.append((call.step, on_end))

    def cancel(self, names):
        pass

    def work(self):
        for unit, on_end in self.given:
            self.store.write(unit.key, {}, {})
            on_end(Outcome("done", StepResult("done", is_computed=True)))
        self.given.clear()


def test_a_lost_scheduler_is_waited_for_and_what_was_in_flight_is_given_out_again(tmp_path):
    bench = Bench(tmp_path, None, [], None, {"a": facts(1)})
    flaky = Flaky(bench.places)
    bench.wheel.start(flaky)
    bench.submit("run_1", "a", **SHORT)
    until = time.monotonic() + 20
    while not flaky.given and time.monotonic() < until:
        time.sleep(0.02)
    flaky.given.clear()
    flaky.is_up = False
    while not notes(bench) and time.monotonic() < until:
        time.sleep(0.02)
    assert "goes on when it is back" in notes(bench)[0]
    assert bench.ledger.view("run_1").state == "running"
    flaky.is_up = flaky.is_new = True
    while bench.ledger.view("run_1").state == "running" and time.monotonic() < until:
        flaky.work()
        time.sleep(0.02)
    bench.wheel.stop()
    assert bench.ledger.view("run_1").state == "succeeded"
    assert notes(bench)[1:] == ["the Dask scheduler is back"]
    bench.catalogue.close()


def notes(bench, run_id="run_1"):
    return [event.data["text"] for event in bench.ledger.events(run_id, 0) if event.kind == "note"]


REMARKS = {
    "reconstruct-5450.0eV-round1": "5450.0 eV: R has settled",
    "reconstruct-5450.0eV-round2": "5450.0 eV: R has settled",
    "spectra": "5470.0 eV: R 0.05 is 5.0 times its neighbours'",
}


def test_a_run_that_reuses_results_is_told_what_was_told_of_them(make_bench):
    bench = make_bench(make_work(remarks=REMARKS))
    bench.submit("run_1", "a", **SHORT)
    first = bench.wait("run_1", "succeeded")
    assert notes(bench) == [REMARKS["reconstruct-5450.0eV-round1"], REMARKS["spectra"]]
    bench.submit("run_2", "a", **SHORT, domains={"n_domains": 3})
    second = bench.wait("run_2", "succeeded")
    assert notes(bench, "run_2") == notes(bench)
    assert [stage.note for stage in second.stages] == [stage.note for stage in first.stages]
    computed = [event.data["stage"] for event in bench.ledger.events("run_2", 0) if event.kind == "unit"]
    assert computed == ["domains", "figures", "results"]


def test_a_run_beside_the_one_that_computes_is_told_as_well(make_bench):
    bench = make_bench(make_work(seconds=0.05, remarks=REMARKS))
    for run_id in ("run_1", "run_2"):
        bench.submit(run_id, "a", **SHORT)
    for run_id in ("run_1", "run_2"):
        bench.wait(run_id, "succeeded")
    assert notes(bench, "run_2") == notes(bench) == [REMARKS["reconstruct-5450.0eV-round1"], REMARKS["spectra"]]


def test_a_restarted_wheel_tells_nothing_twice_and_keeps_what_the_stages_had_to_say(make_bench):
    work = make_work(seconds=0.05, remarks=REMARKS)
    bench = make_bench(work)
    bench.submit("run_1", "a", **SHORT)
    bench.wait_for_units(13)
    bench.wheel.stop()
    again = make_bench(work)
    view = again.wait("run_1", "succeeded")
    assert notes(again) == [REMARKS["reconstruct-5450.0eV-round1"], REMARKS["spectra"]]
    assert {stage.name: stage.note for stage in view.stages}["reconstruct"] == REMARKS["reconstruct-5450.0eV-round1"]


def test_work_that_was_removed_while_a_run_counted_on_it_is_computed_again(make_bench):
    plain = make_work()

    def work(call, report, is_cancelled):
        from storage.artifacts import ArtifactStore

        store, once = ArtifactStore(call.paths.artifacts), call.paths.runs / "removed"
        if call.step.stage == "couple" and not once.exists():
            once.touch()
            store.delete(call.step.inputs[0])
        if not all(store.has(key) for key in call.step.inputs):
            return StepResult("lost", message="a unit is not finished")
        return plain(call, report, is_cancelled)

    bench = make_bench(work)
    bench.submit("run_1", "a", **SHORT)
    assert bench.wait("run_1", "succeeded", "failed").error is None
    assert [line[2] for line in bench.log()][:14] == ["reconstruct"] * 13 + ["couple"]
    assert bench.wheel.meter.units["couple", "lost"] == 1
