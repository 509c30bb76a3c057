"""Plans: the graph of a run, and which of its results are there already."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from service.errors import InvalidInputError
from service.execution.planning import make_plan, remove_past_rounds
from service.records.run_repository import RunRecord
from service.stages.pipeline import build_graph, past_rounds
from service.workflow.inputs import RunInput
from service.workflow.progress import RunProgress
from storage.artifacts import ArtifactStore
from tasks.options.run import OPTIONS, RunOptions

SHORT: RunOptions = OPTIONS.validate_python({"reconstruct": {"cycles": 20}, "kkr": {"start": 10, "every": 10}})
RECORD = RunRecord("run_1", ("a",), SHORT)


def test_a_plan_is_followed_as_if_the_store_had_been_asked(run_input: Callable[..., RunInput]) -> None:
    inputs = [run_input()]
    graph = build_graph(inputs, SHORT, "run_1")
    first_rounds = {step.key for step in graph.steps.values() if step.name.endswith("round1")}
    plan = make_plan(RECORD, [], lambda ids, options: inputs, first_rounds.__contains__)
    assert plan is not None
    planned, asked = RunProgress("run_1"), RunProgress("run_1")
    planned.follow(plan.graph, plan.stored.__contains__)
    asked.follow(graph, first_rounds.__contains__)
    assert planned.done == asked.done
    assert [step.key for step in planned.pending] == [step.key for step in asked.pending]
    assert len(planned.done) == 13


def test_inputs_that_have_not_changed_need_no_new_plan(run_input: Callable[..., RunInput]) -> None:
    inputs = [run_input()]
    assert make_plan(RECORD, inputs, lambda ids, options: [run_input()], lambda key: False) is None


def test_what_cannot_be_read_is_raised(run_input: Callable[..., RunInput]) -> None:
    def refuse(ids: Sequence[str], options: RunOptions) -> list[RunInput]:
        raise InvalidInputError(f"dataset {ids[0]} is damaged")

    with pytest.raises(InvalidInputError, match="a is damaged"):
        make_plan(RECORD, [], refuse, lambda key: False)


def test_rounds_of_a_run_that_succeeded_go_unless_another_has_them(run_input: Callable[..., RunInput], tmp_path: Path) -> None:
    graph, artifacts = build_graph([run_input()], SHORT, "run_1"), ArtifactStore(tmp_path)
    for step in graph.steps.values():
        artifacts.write(step.key, {"x": np.ones(3)}, {})
    past = past_rounds(graph)
    assert {step.name for step in graph.steps.values() if step.key in past} >= {"couple-round1"}
    weaker = OPTIONS.validate_python({"reconstruct": {"cycles": 20}, "kkr": {"start": 10, "every": 10, "gamma": 0.5}})
    other = build_graph([run_input()], weaker, "run_2")
    remove_past_rounds(artifacts, graph, [other])
    shared = past & {step.key for step in other.steps.values()}
    assert len(shared) == 12, "first rounds, before the coupling"
    assert set(artifacts.keys()) == {step.key for step in graph.steps.values()} - (past - shared)
    remove_past_rounds(artifacts, graph, [])
    assert set(artifacts.keys()) == {step.key for step in graph.steps.values()} - past
    remove_past_rounds(artifacts, graph, [])
    assert graph.unfinished(artifacts.has) == set(), "nothing is computed again"
