"""The progress of a run: what is pending, what is finished, how far it is."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from service.workflow.graph import Graph
from service.workflow.progress import RunProgress
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
    progress = RunProgress("run_1")
    progress.follow(graph, lambda key: True)
    progress.paced_since = 0.0
    assert progress.progress() == 0.25
    assert progress.eta_s() is None
    assert not progress.is_finished
    assert RunProgress("run_1", Graph(awaits_scans=True)).progress() == 0.0


def test_nothing_is_told_of_the_time_left_before_the_first_step_is_done() -> None:
    progress = begun()
    progress.submit([progress.pending[0].key], has_begun=True)
    progress.shares["reconstruct-a"] = 0.5  # which workers reach only after they have compiled
    assert progress.eta_s() is None
    progress.finish(progress.graph.steps["reconstruct-a"].key)
    assert progress.eta_s() is None  # there is no pace yet
    assert progress.paced_since is not None
    progress.paced_since -= 10.0
    left = 1 - progress.progress()
    progress.submit([step.key for step in progress.pending if step.stage == "fit"], has_begun=True)
    progress.finish(progress.graph.steps["fit-b"].key)
    gained = left - (1 - progress.progress())
    assert progress.eta_s() == pytest.approx(10.0 * (left - gained) / gained, rel=0.01)


def names_of_pending(progress: RunProgress) -> list[str]:
    return [step.name for step in progress.pending]


def test_steps_are_pending_in_the_order_of_the_graph_until_they_are_submitted() -> None:
    progress = begun()
    assert names_of_pending(progress) == ["reconstruct-a", "fit-b", "fit-c", "maps-d"]
    progress.submit([progress.pending[0].key])
    assert names_of_pending(progress) == ["fit-b", "fit-c", "maps-d"]
    progress.submit([step.key for step in progress.pending if step.stage == "fit"])
    assert names_of_pending(progress) == ["maps-d"]
    assert len(progress.submitted) == 3
    for key in list(progress.submitted):
        progress.finish(key)
    assert (progress.submitted, progress.is_finished) == (set(), False)
    progress.finish(progress.pending.popleft().key)
    assert progress.is_finished


def test_a_missing_result_is_computed_again_with_all_it_lacks() -> None:
    assert names_of_pending(begun("fit-b")) == ["reconstruct-a", "fit-c", "maps-d"]
    assert names_of_pending(begun("fit-b", "fit-c")) == ["maps-d"], "nobody asks for what only finished steps need"


def test_a_step_that_was_taken_back_is_pending_again_once_the_graph_is_followed() -> None:
    progress = begun()
    key = progress.pending[0].key
    progress.submit([key], has_begun=True)
    assert progress.running == {"reconstruct-a"}
    progress.withdraw(["another"])
    assert not progress.is_outdated
    progress.withdraw([key])
    assert (progress.submitted, progress.running, progress.is_outdated) == (set(), set(), True)
    progress.follow(progress.graph, lambda key: False)
    assert names_of_pending(progress)[0] == "reconstruct-a"
    assert not progress.is_outdated


def test_steps_of_one_key_are_one_computation() -> None:
    graph = diamond()
    graph.add(FitStep(label="-again", of="b", reads=(graph.steps["reconstruct-a"].ref,)))
    progress = RunProgress("run_1", graph)
    progress.follow(graph, lambda key: False)
    key = graph.steps["fit-b"].key
    progress.submit([graph.steps["reconstruct-a"].key])
    progress.submit([key, graph.steps["fit-c"].key])
    assert names_of_pending(progress) == ["maps-d"]
    progress.finish(key)
    assert progress.done == {"fit-b", "fit-again"}


def test_progress_counts_costs_and_what_is_under_way() -> None:
    progress = begun()
    assert progress.progress() == 0.0
    step = progress.pending[0]
    progress.submit([step.key])
    assert [stage.state for stage in progress.stages()] == ["waiting", "skipped", "waiting", "waiting"]
    progress.begin([step.key])
    progress.shares[step.name] = 0.5
    assert progress.progress() == 0.3
    assert progress.stages()[0].state == "running"
    progress.finish(step.key)
    assert progress.progress() == 0.6
    stages = {stage.name: (stage.done, stage.total, stage.state) for stage in progress.stages()}
    assert stages["reconstruct"] == (1, 1, "done")
    assert stages["fit"] == (0, 2, "waiting")
    assert stages["couple"] == (0, 0, "skipped")


def test_a_graph_that_grows_keeps_what_is_submitted() -> None:
    progress = begun()
    step = progress.pending[0]
    progress.submit([step.key])
    grown = diamond()
    grown.add(AnyStep(label="-e", of="e", reads=(grown.steps["maps-d"].ref,)))
    progress.follow(grown, lambda key: False)
    assert progress.submitted == {step.key}
    assert names_of_pending(progress) == ["fit-b", "fit-c", "maps-d", "maps-e"]


def test_what_a_new_graph_lacks_is_neither_under_way_nor_counted() -> None:
    progress = begun()
    step = progress.pending[0]
    progress.submit([step.key], has_begun=True)
    progress.shares[step.name] = 0.5
    graph = Graph(stages=("reconstruct",))
    graph.add(ReconstructStep(label="-a", of="another", seconds=6))
    progress.follow(graph, lambda key: False)
    assert (progress.submitted, progress.running, progress.shares) == (set(), set(), {})
    assert names_of_pending(progress) == ["reconstruct-a"]


def test_provisional_steps_are_no_part_of_the_progress() -> None:
    graph = diamond()
    graph.provisional, graph.awaits_scans, graph.cost_to_come = {"reconstruct-a"}, True, 16.0
    progress = RunProgress("run_1")
    progress.follow(graph, {graph.steps[name].key for name in ("reconstruct-a", "fit-b")}.__contains__)
    assert progress.progress() == 1 / 20
