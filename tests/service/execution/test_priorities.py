"""Priorities of runs that share the workers."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from service.execution.priorities import QUANTUM_S, FairShare
from service.workflow.step import Step, StepAttributes


@dataclass(frozen=True, kw_only=True)
class Costly(Step):
    """A step of a given cost."""

    stage: ClassVar[str] = "costly"
    version: ClassVar[int] = 1

    cost_s: float = 1.0

    @property
    def cost(self) -> float:
        return self.cost_s

    def run(self, context: Any) -> StepAttributes:
        raise NotImplementedError


class Worker:
    """One worker that always takes the step of the highest priority; all steps are ready."""

    def __init__(self) -> None:
        self.share = FairShare()
        self.waiting: list[tuple[float, str, Step]] = []
        self.served: list[str] = []
        self.spent: dict[str, float] = {}

    def add(self, run: str, n: int, cost: float, first: int = 0) -> None:
        steps = [Costly(label=f"-{number}", cost_s=cost) for number in range(first, first + n)]
        self.share.admit(run, steps)
        self.waiting += [(-self.share.priority(run, step), run, step) for step in steps]

    def serve(self, n: int = 1) -> None:
        for _ in range(n):
            self.waiting.sort(key=lambda one: one[0])
            _, run, step = self.waiting.pop(0)
            self.served.append(run)
            self.spent[run] = self.spent.get(run, 0.0) + step.cost
            self.share.advance(run, step.name)
            if not any(run == other for _, other, _ in self.waiting):
                self.share.forget(run)

    def serve_all(self) -> list[str]:
        """Runs in the order in which they end."""
        self.serve(len(self.waiting))
        return sorted(set(self.served), key=lambda run: len(self.served) - self.served[::-1].index(run))


def test_steps_of_one_run_keep_their_order_also_when_they_are_submitted_again() -> None:
    share, steps = FairShare(), [Costly(label=f"-{n}", cost_s=0.4 * QUANTUM_S) for n in range(6)]
    share.admit("a", steps)
    priorities = [share.priority("a", step) for step in steps]
    assert priorities == sorted(set(priorities), reverse=True)
    share.advance("a", steps[0].name)
    share.admit("a", steps[1:])
    assert priorities == [share.priority("a", step) for step in steps]


def test_short_runs_end_in_the_order_in_which_they_came() -> None:
    worker = Worker()
    for number in range(100):
        worker.add(f"run {number}", 5, 2.0)
    assert worker.serve_all() == [f"run {number}" for number in range(100)]


def test_a_short_run_overtakes_a_long_one() -> None:
    worker = Worker()
    worker.add("long", 100, 30.0)
    worker.serve(7)
    worker.add("short", 3, 10.0)
    worker.serve(3)
    assert worker.served[7:] == ["short"] * 3


def test_a_run_that_is_nearly_done_is_not_overtaken() -> None:
    worker = Worker()
    worker.add("first", 10, 30.0)
    worker.serve(9)
    worker.add("second", 10, 30.0)
    assert worker.serve_all() == ["first", "second"]


def test_long_runs_take_turns() -> None:
    worker = Worker()
    worker.add("a", 100, 60.0)
    worker.add("b", 100, 60.0)
    for _ in range(15):
        worker.serve(10)
        assert abs(worker.spent["a"] - worker.spent.get("b", 0.0)) <= QUANTUM_S


def test_a_long_run_is_not_held_up_for_ever_by_short_ones() -> None:
    worker = Worker()
    worker.add("long", 10, 30.0)
    for number in range(40):
        worker.add(f"short {number}", 1, 20.0)
        worker.serve()
        if "long" not in [run for _, run, _ in worker.waiting]:
            break
    assert worker.served.count("long") >= 10
    assert 0.3 < worker.spent["long"] / sum(worker.spent.values()) < 0.7


def test_a_run_that_grows_has_no_claim_from_the_time_when_it_had_no_work() -> None:
    worker = Worker()
    worker.add("live", 2, 10.0)
    worker.add("busy", 100, 10.0)
    worker.serve(80)
    worker.share.admit("live", [])
    worker.add("live", 100, 10.0, first=2)
    worker.serve(20)
    assert worker.served[80:].count("busy") > 5


@pytest.mark.parametrize("cost", [float("inf"), float("nan")])
def test_a_cost_that_is_no_number_does_not_disturb_the_others(cost: float) -> None:
    worker = Worker()
    worker.add("broken", 2, cost)
    worker.add("whole", 2, 1.0)
    worker.serve(2)
    worker.add("later", 2, 0.5)
    worker.serve(2)
    assert worker.served == ["broken", "broken", "later", "later"]
