"""Priorities with which the steps of several runs share the workers."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from service.workflow.step import Step

QUANTUM_S: Final = 600.0
"""Work that a long run may finish before another run of that length has its turn [s of one core]."""
RUN_ORDER_S: Final = 1e-6
STEP_ORDER: Final = 1e-9
"""These break ties: the run that came first goes first, and within a run the step that comes first in its graph."""


@dataclass
class Account:
    """One run: its place among the runs, where its work ends in virtual time, and finish tag and cost of its steps."""

    number: int
    end: float = 0.0
    tags: dict[str, float] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)


class FairShare:
    """Fair queueing of runs by virtual finish times.

    Virtual time advances by the work done divided by the number of runs, as if the workers were shared evenly. The work of
    a run is divided into quanta; each is served in the order of the virtual time at which an even share would have
    finished it. So runs end about when they would with an even share, or earlier: a short run overtakes a long one, of
    short runs the first ends first, long ones take turns by quanta, and none waits for ever, because its finish times stay
    while time advances.

    Methods: Parekh & Gallager, IEEE/ACM Trans. Netw. 1993, 1, 344; Friedman & Henderson, ACM SIGMETRICS 2003, 229.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._numbers = itertools.count()
        self._accounts: dict[str, Account] = {}

    def admit(self, run_id: str, steps: Iterable[Step]) -> None:
        """Find the place of a run's steps, in the order of its graph; those that have one keep it."""
        account = self._accounts.setdefault(run_id, Account(next(self._numbers)))
        new = [step for step in steps if step.name not in account.tags]
        costs = [step.cost if math.isfinite(step.cost) else 0.0 for step in new]
        base, total, begin = max(self._now, account.end), math.fsum(costs), 0.0
        for step, cost in zip(new, costs, strict=True):
            quantum, within = divmod(begin, QUANTUM_S)
            finish = base + min(total, (quantum + 1) * QUANTUM_S)
            account.tags[step.name] = finish + RUN_ORDER_S * account.number + STEP_ORDER * within
            account.costs[step.name] = cost
            begin += cost
        account.end = base + total

    def priority(self, run_id: str, step: Step) -> float:
        """Dask priority of an admitted step, higher first."""
        return -self._accounts[run_id].tags[step.name]

    def advance(self, run_id: str, name: str) -> None:
        """Note that a step of a run has ended."""
        account = self._accounts.get(run_id)
        if account is not None:
            self._now += account.costs.pop(name, 0.0) / len(self._accounts)

    def forget(self, run_id: str) -> None:
        """Forget a run that has ended."""
        self._accounts.pop(run_id, None)
        if not self._accounts:
            self._now = 0.0
