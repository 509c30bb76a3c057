"""What the service tells of its datasets and runs: plain values, safe to hand out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Generic, Literal, TypeVar, get_args

from service.errors import FieldError
from service.workflow.progress import StageView as StageView
from service.workflow.warnings import gathered
from storage.catalogue.datasets import DatasetFilter as DatasetFilter
from storage.catalogue.paging import PageKey as PageKey
from storage.catalogue.runs import RunFilter as RunFilter
from storage.datasets.dataset_kind import DatasetKind as DatasetKind

RunState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
RUN_STATES: Final[tuple[RunState, ...]] = get_args(RunState)
UNFINISHED: Final[tuple[RunState, ...]] = ("queued", "running")
ENDED: Final = tuple(state for state in RUN_STATES if state not in UNFINISHED)
MOST_EVENTS: Final = 1000
"""Events of a run that are read at once."""
DatasetState = Literal["open", "sealed", "damaged"]

View = TypeVar("View")


@dataclass(frozen=True)
class Page(Generic[View]):
    """Part of a list, newest first; the next part starts after ``end``, which is None where there is none."""

    items: tuple[View, ...]
    end: PageKey | None


@dataclass(frozen=True)
class ScanView:
    """One energy's measurement."""

    name: str
    energy_ev: float
    n_positions: int
    n_pixels: int
    sha256: str
    n_bytes: int
    warnings: tuple[str, ...] = ()
    """What was decided or assumed about it when it was read, one sentence each."""
    shape: tuple[int, int] | None = None
    """(Y, X) of an image; None of a scan."""
    pixel_size_m: float | None = None
    has_phase: bool | None = None


@dataclass(frozen=True)
class DatasetView:
    """A dataset as it stands."""

    id: str
    title: str
    state: DatasetState
    sample: Mapping[str, Any]
    absorber: Mapping[str, Any]
    distance_m: float | None
    detector_pixel_size_m: float | None
    probe: Mapping[str, Any] | None
    orientation: int | Literal["auto"]
    scans: tuple[ScanView, ...]
    created: datetime
    faults: tuple[FieldError, ...] = ()
    """What of it is damaged: its store is not what was written."""
    labels: tuple[str, ...] = ()
    kind: DatasetKind = "diffraction"

    @property
    def energies_ev(self) -> list[float]:
        """Energies [eV], ascending."""
        return [scan.energy_ev for scan in self.scans]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of the scans, each once."""
        return gathered({scan.name: scan.warnings for scan in self.scans})

    @property
    def n_bytes(self) -> int:
        """Bytes that all scans take on disk."""
        return sum(scan.n_bytes for scan in self.scans)


@dataclass(frozen=True)
class RunView:
    """A run as it stands."""

    id: str
    name: str
    state: RunState
    stages: tuple[StageView, ...]
    progress: float
    eta_s: float | None
    dashboard_url: str | None
    error: str | None
    datasets: tuple[str, ...]
    options: Mapping[str, Any]
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the run is over, for good or until it is tried again."""
        return self.state in ENDED


@dataclass(frozen=True)
class EventView:
    """Something that happened to a run; ``id`` only ever grows."""

    id: int
    time: datetime
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FigureView:
    """One figure of a run."""

    name: str
    title: str
    dataset: str | None


def moment(seconds: float) -> datetime:
    """A time in seconds since 1970, as a date."""
    return datetime.fromtimestamp(seconds, UTC)
