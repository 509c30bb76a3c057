"""Warnings of a run about its results: an energy that ended early, one that stands out.

A step stores its warnings with its result, so whoever reuses the result is warned as well, and each run once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.workflow.step import Step


@dataclass
class RunWarnings:
    """Warnings of one run.

    Attributes
    ----------
    reported : set of str
        Warnings that were reported to the run already, maybe before the service was restarted.
    seen_steps : set of str
        Names of the steps whose warnings have been added.
    of_stage : dict of str to list of str
        Warnings by stage.
    """

    reported: set[str] = field(default_factory=set)
    seen_steps: set[str] = field(default_factory=set)
    of_stage: dict[str, list[str]] = field(default_factory=dict)

    def add(self, step: Step, warnings: Sequence[str]) -> list[str]:
        """Add the warnings of a finished step; those of them that have not been reported to the run."""
        self.seen_steps.add(step.name)
        known = self.of_stage.setdefault(step.stage, [])
        known += [warning for warning in warnings if warning not in known]
        new = [warning for warning in warnings if warning not in self.reported]
        self.reported.update(new)
        return new

    def summary(self, stage: str) -> str | None:
        """The first warning of a stage and how many more there are, on one line; None where there is none."""
        warnings = self.of_stage.get(stage, [])
        more = f" (and {len(warnings) - 1} more among the run's events)" if len(warnings) > 1 else ""
        return f"{warnings[0]}{more}" if warnings else None
