"""What the service has done since it started, counted for those who watch over it."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

StepFate = Literal["computed", "reused", "lost", "failed"]


@dataclass
class Metrics:
    """Counters of the run loop, which alone writes them.

    Attributes
    ----------
    steps : Counter of (str, str)
        Steps by stage and fate: computed, reused (their result was there), lost (and tried again), failed.
    seconds : dict of str
        Time workers spent computing, by stage [s].
    n_ready, n_running : int
        Steps that wait for a worker, and for nothing else, and steps that workers have begun.
    """

    steps: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    n_ready: int = 0
    n_running: int = 0

    def note(self, stage: str, fate: StepFate, seconds: float = 0.0) -> None:
        """Count one step that came back."""
        self.steps[stage, fate] += 1
        self.seconds[stage] += seconds


@dataclass(frozen=True)
class Snapshot:
    """The state of the whole service at one moment, all projects together."""

    n_runs: Mapping[str, int]
    n_datasets: int
    n_dataset_bytes: int
    n_free_bytes: int
    n_slots: int
    is_connected: bool
    metrics: Metrics
