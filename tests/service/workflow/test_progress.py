"""The progress of a run: what is ready, what is finished, how far it is."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from service.workflow.graph import Graph
from service.workflow.progress import RunProgress, fair_share
from service.workflow.step import NOT_IN_KEY, Step, StepAttributes, StepRef


@dataclass(frozen=True, kw_only=True)
class AnyStep(Step):
    """Reads any steps, and costs what it is told to."""

    stage: ClassVar[str] = "maps"
    version: ClassVar[int] = 1

    of: str
    reads: tuple[StepRef[Step], ...] = ()
    seconds: float = field(default=1.0, metadata=NOT_IN_KEY)

    @property
    def cost(self) -> float:
        return self.seconds

    def run(self, context: Any) -> StepAttributes:
        return {}


class ReconstructStep(AnyStep):
    stage: ClassVar[str] = "reconstruct"


class FitStep(AnyStep):
    stage: ClassVar[str] = "fit"


def diamond() -> Graph:
    """a -> b, c -> d."""
    graph = Graph(stages=("reconstruct", "couple", "fit", "maps"))
    a = graph.add(ReconstructStep(label="-a", of="a", seconds=6))
    b = graph.add(FitStep(label="-b", of="b", reads=(a,)))
    c = graph.add(FitStep(label="-c", of="c", reads=(a,)))
    graph.add(AnyStep(label="-d", of="d", reads=(b, c), seconds=2))
    return graph


def begun(*stored: str) -> RunProgress:
    """A run of the diamond, of which some steps are in the store."""
    graph = diamond()
    progress = RunProgress("run_1", graph)
    progress.follow(graph, lambda key: any(graph.steps[name].key == key for name in stored))
    return progress


def test_a_live_run_is_never_told_to_be_done() -> None:
    graph = diamond()
    graph.awaits_scans, graph.cost_to_come = True, 30.0
    progress = RunProgress("run_1", graph)
    progress.done, progress.began = set(graph.steps), 0.0
    assert progress.progress() == 0.25
    assert progress.eta_s() is None
    assert not progress.is_finished
    assert RunProgress("run_1", Graph(awaits_scans=True)).progress() == 0.0


def test_steps_become_ready_when_all_they_need_is_done() -> None:
    progress = begun()
    order: list[list[str]] = []
    while not progress.is_finished:
        ready = progress.ready()
        order.append([step.name for step in ready])
        for step in ready:
            progress.start(step)
        assert progress.ready() == []
        for step in ready:
            progress.finish(step.name)
    assert order == [["reconstruct-a"], ["fit-b", "fit-c"], ["maps-d"]]


def test_a_missing_result_is_computed_again_with_all_it_lacks() -> None:
    progress = begun("fit-b")
    assert [step.name for step in progress.ready()] == ["reconstruct-a"]


def test_a_dropped_step_is_ready_again_under_another_attempt() -> None:
    progress = begun()
    (step,) = progress.ready()
    first = progress.start(step)
    progress.drop(step.name)
    assert progress.start(*progress.ready()) != first


def test_progress_counts_costs_and_what_is_under_way() -> None:
    progress = begun()
    assert progress.progress() == 0.0
    (step,) = progress.ready()
    progress.start(step)
    progress.shares[step.name] = 0.5
    assert progress.progress() == 0.3
    progress.finish(step.name)
    assert progress.progress() == 0.6
    stages = {stage.name: (stage.done, stage.total, stage.state) for stage in progress.stages()}
    assert stages["reconstruct"] == (1, 1, "done")
    assert stages["fit"] == (0, 2, "waiting")
    assert stages["couple"] == (0, 0, "skipped")


def test_a_graph_that_grows_keeps_what_is_in_flight() -> None:
    progress = begun()
    (step,) = progress.ready()
    progress.start(step)
    grown = diamond()
    grown.add(AnyStep(label="-e", of="e", reads=(grown.steps["maps-d"].ref,)))
    progress.follow(grown, lambda key: False)
    assert step.name in progress.in_flight
    assert progress.ready() == []


def test_slots_are_shared_evenly_and_nobody_starves() -> None:
    assert [fair_share(4, n) for n in (0, 1, 2, 3, 9)] == [4, 4, 2, 1, 1]
