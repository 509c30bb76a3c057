"""Answers, made from the service's plain values."""

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from service.records.views import DatasetKind, DatasetState, RunState

Item = TypeVar("Item")


class Answer(BaseModel):
    """An answer, made from the service's plain values."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class Page(BaseModel, Generic[Item]):
    """One page of a list, newest first."""

    items: list[Item]
    next_cursor: str | None = Field(description="The `cursor` of the next page; none at the end.")


class FieldErrorAnswer(Answer):
    """One field at fault."""

    field: str
    message: str


class ScanAnswer(Answer):
    """One energy's measurement."""

    name: str
    energy_ev: float
    n_positions: int
    n_pixels: int
    sha256: str
    n_bytes: int
    warnings: list[str]
    """What was decided or assumed about it when it was read."""
    shape: tuple[int, int] | None
    """Rows and columns of an image; none of diffraction patterns."""
    pixel_size_m: float | None
    """Pixel of an image [m]."""
    has_phase: bool | None
    """Whether an image is a complex object, not absorption alone."""


class DatasetAnswer(Answer):
    """The present state of a dataset."""

    id: str
    title: str
    state: DatasetState
    kind: DatasetKind
    sample: dict[str, Any]
    absorber: dict[str, Any]
    distance_m: float | None
    detector_pixel_size_m: float | None
    probe: dict[str, Any] | None
    orientation: int | Literal["auto"]
    energies_ev: list[float]
    scans: list[ScanAnswer]
    n_bytes: int
    faults: list[FieldErrorAnswer]
    """What of it is damaged."""
    warnings: list[str]
    """What was decided or assumed about its scans, such as a probe that nobody described."""
    labels: list[str]
    created: datetime


class StageAnswer(Answer):
    """Progress of one stage, in steps."""

    name: str
    done: int
    total: int
    state: str
    note: str | None = None


class RunAnswer(Answer):
    """The present state of a run."""

    id: str
    name: str
    state: RunState
    stages: list[StageAnswer]
    progress: float
    """Share of the work that is done, from 0 to 1."""
    eta_s: float | None
    """Estimate of the seconds that remain."""
    dashboard_url: str | None
    """Address of the Dask dashboard."""
    error: str | None
    """Why the run failed, in plain words."""
    datasets: list[str]
    options: dict[str, Any]
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None


class FigureAnswer(Answer):
    """One figure of a run."""

    name: str
    title: str
    dataset: str | None
    url: str


class FigureList(BaseModel):
    """Every figure of a run, in the order of the analysis."""

    items: list[FigureAnswer]


class OptionsAnswer(BaseModel):
    """Defaults and JSON schema of every option of a run."""

    defaults: dict[str, Any]
    json_schema: dict[str, Any] = Field(serialization_alias="schema")


class HealthAnswer(BaseModel):
    """Whether the service is alive, or ready for runs."""

    status: Literal["ok", "ready"]


class VersionAnswer(BaseModel):
    """Versions of ptyxas and of its libraries."""

    model_config = ConfigDict(extra="allow")

    ptyxas: str


class ProblemAnswer(BaseModel):
    """RFC 9457 problem; ``code`` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldErrorAnswer]
