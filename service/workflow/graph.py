"""The graph of a run as plain data: its steps in order, and what can be asked of them without computing anything."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from service.workflow.step import Step, StepRef

StepT = TypeVar("StepT", bound=Step)


@dataclass
class Graph:
    """The steps of a run, each after all that it needs.

    Attributes
    ----------
    stages : tuple of str
        Names of all stages in the order of a run, whether the graph has steps of them or not.
    steps : dict of str to Step
        By name.
    skipped : dict of str to str
        Stages that have no steps with these datasets and options, and why.
    awaits_scans : bool
        More steps will come, because a dataset is still open.
    cost_to_come : float
        Estimated cost [s] of those steps, if no further scans arrived.
    provisional : set of str
        Names of steps that are computed otherwise once all scans are there. They show how the data are, and are no part of the
        run's cost.
    """

    stages: tuple[str, ...] = ()
    steps: dict[str, Step] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    awaits_scans: bool = False
    cost_to_come: float = 0.0
    provisional: set[str] = field(default_factory=set)

    def add(self, step: StepT) -> StepRef[StepT]:
        """Add a step and return the reference to it.

        Raises
        ------
        ValueError
            A step of that name is there already.
        """
        if step.name in self.steps:
            raise ValueError(f"steps of a graph have names of their own, got {step.name} twice")
        self.steps[step.name] = step
        return step.ref

    @property
    def cost(self) -> float:
        """Estimated cost [s] of all steps that are not provisional."""
        return sum(step.cost for name, step in self.steps.items() if name not in self.provisional)

    def last_steps(self) -> list[str]:
        """Names of the steps that no other step needs."""
        needed = {name for step in self.steps.values() for name in step.needs}
        return [name for name in self.steps if name not in needed]

    def unfinished(self, is_stored: Callable[[str], bool]) -> set[str]:
        """Names of steps that have to be computed: from the last steps back, no further than what is stored.

        Parameters
        ----------
        is_stored : callable
            Whether the result of a key is in the store. It is asked only where something unfinished needs the result.
        """
        missing: set[str] = set()
        seen: set[str] = set()
        waiting = self.last_steps()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if not is_stored(self.steps[name].key):
                missing.add(name)
                waiting.extend(self.steps[name].needs)
        return missing
