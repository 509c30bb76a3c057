"""A graph tells what has to be computed, without computing it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from service.workflow.graph import Graph
from service.workflow.step import Step, StepAttributes, StepRef


@dataclass(frozen=True, kw_only=True)
class AnyStep(Step):
    """Reads any steps; costs a second."""

    stage: ClassVar[str] = "any"
    version: ClassVar[int] = 1

    reads: tuple[StepRef["AnyStep"], ...] = ()

    def run(self, context: Any) -> StepAttributes:
        return {}


def diamond() -> Graph:
    """a -> b, c -> d."""
    graph = Graph()
    a = graph.add(AnyStep(label="-a"))
    b = graph.add(AnyStep(label="-b", reads=(a,)))
    c = graph.add(AnyStep(label="-c", reads=(a, a)))
    graph.add(AnyStep(label="-d", reads=(b, c)))
    return graph


def test_nothing_is_asked_of_what_only_finished_steps_need() -> None:
    asked: list[str] = []
    graph = diamond()
    stored = {graph.steps["any-b"].key, graph.steps["any-c"].key}

    def is_stored(key: str) -> bool:
        asked.append(key)
        return key in stored

    assert graph.unfinished(is_stored) == {"any-d"}
    assert graph.steps["any-a"].key not in asked


def test_a_missing_result_is_computed_again_with_all_it_lacks() -> None:
    graph = diamond()
    assert graph.unfinished(lambda key: key == graph.steps["any-b"].key) == {"any-a", "any-c", "any-d"}
    assert graph.unfinished(lambda key: True) == set()


def test_the_last_steps_are_those_nobody_needs_and_costs_add_up() -> None:
    graph = diamond()
    graph.add(AnyStep(label="-alone"))
    assert graph.last_steps() == ["any-d", "any-alone"]
    assert graph.cost == 5


def test_two_steps_of_one_name_are_refused() -> None:
    graph = diamond()
    with pytest.raises(ValueError, match="any-a twice"):
        graph.add(AnyStep(label="-a"))
