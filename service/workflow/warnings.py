"""Warnings of a run: what was assumed about its scans, and what stands out in its results.

A scan and a step store their warnings with them, so whoever uses them is warned as well, and each run once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

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
        return self.unreported(warnings)

    def unreported(self, warnings: Iterable[str]) -> list[str]:
        """Those of the warnings that have not been reported to the run; they count as reported from now on."""
        new = [warning for warning in dict.fromkeys(warnings) if warning not in self.reported]
        self.reported.update(new)
        return new

    def summary(self, stage: str) -> str | None:
        """The first warning of a stage and how many more there are, on one line; None where there is none."""
        warnings = self.of_stage.get(stage, [])
        more = f" (and {len(warnings) - 1} more among the run's events)" if len(warnings) > 1 else ""
        return f"{warnings[0]}{more}" if warnings else None


N_NAMED: Final = 3
"""Scans that a warning of several names."""


def gathered(found: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Warnings of a dataset's scans, each once, with the scans that it concerns unless it concerns all.

    Parameters
    ----------
    found : mapping of str to sequence of str
        The warnings of each scan, by its name.
    """
    scans_of: dict[str, list[str]] = {}
    for name, texts in found.items():
        for text in texts:
            scans_of.setdefault(text, []).append(name)
    return tuple(text if len(names) == len(found) else f"{listed(names)}: {text}" for text, names in scans_of.items())


def listed(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - N_NAMED} more scans" if len(names) > N_NAMED else ""
    return ", ".join(names[:N_NAMED]) + more
