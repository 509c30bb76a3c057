"""What units want people to know of their results: an energy that ended early, one that stands out.

It is kept with the unit, so whoever reuses a result is told as much as whoever computed it, and each run is told once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from service.workflow.step import Step


@dataclass
class RunWarnings:
    """Of one run.

    Attributes
    ----------
    told : set of str
        What the run was told already, maybe by an earlier service.
    heard : set of str
        Names of units whose remarks are among these.
    of_stage : dict of str to list of str
    """

    told: set[str] = field(default_factory=set)
    heard: set[str] = field(default_factory=set)
    of_stage: dict[str, list[str]] = field(default_factory=dict)

    def hear(self, unit: Step, texts: Sequence[str]) -> list[str]:
        """Note what a finished unit has to say; those of its texts that the run was not told."""
        self.heard.add(unit.name)
        known = self.of_stage.setdefault(unit.stage, [])
        known += [text for text in texts if text not in known]
        new = [text for text in texts if text not in self.told]
        self.told.update(new)
        return new

    def summary(self, stage: str) -> str | None:
        """Of one stage in one line: the first, and how many more there are."""
        texts = self.of_stage.get(stage, [])
        more = f" (and {len(texts) - 1} more among the run's events)" if len(texts) > 1 else ""
        return f"{texts[0]}{more}" if texts else None
