"""What the service has done since it started, counted for those who watch over it."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

UnitFate = Literal["computed", "reused", "lost", "failed"]


@dataclass
class Metrics:
    """Counters of the orchestrator, which alone writes them.

    Attributes
    ----------
    units : Counter of (str, str)
        Units by stage and fate: computed, reused (their result was there), lost (and tried again), failed.
    seconds : dict of str
        Time workers spent computing, by stage [s].
    n_ready, n_in_flight : int
        Units that wait for a slot, and units handed to the cluster.
    """

    units: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    n_ready: int = 0
    n_in_flight: int = 0

    def note(self, stage: str, fate: UnitFate, seconds: float = 0.0) -> None:
        """Count one unit that came back."""
        self.units[stage, fate] += 1
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
    meter: Metrics
