"""Bodies and answers of the HTTP contract."""

from datetime import datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from service.records.views import RunState
from tasks.options import RunOptions
from tasks.ptycho.probe import ProbeSpec
from tasks.scattering import Absorber

Item = TypeVar("Item")

EXAMPLE_DATASET: Final[dict[str, JsonValue]] = {
    "title": "particle 3, delithiated",
    "sample": {"name": "LVO-3", "formula": "LiVO2", "group": "delithiated"},
    "absorber": {"element": "V", "edge": "K"},
    "distance_m": 1.34,
    "detector_pixel_size_m": 7.5e-05,
    "probe": {"kind": "kb", "fwhm_m": 3e-07},
}
EXAMPLE_RUN: Final[dict[str, JsonValue]] = {
    "datasets": ["ds_0123456789abcdef"],
    "options": {"reconstruct": {"cycles": 800}, "domains": {"n_domains": 6}},
    "name": "first look",
}


class Body(BaseModel):
    """What a client sends: names that are not known are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Answer(BaseModel):
    """What the service sends, read off its own plain values."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class Sample(Body):
    """The specimen."""

    name: Annotated[str, Field(max_length=200)] = ""
    """What the specimen is called."""
    formula: Annotated[str, Field(min_length=1, max_length=200)]
    """Chemical formula, fractions allowed: ``Li10/7V6/7O2``."""
    group: Annotated[str, Field(max_length=200)] = ""
    """Group it is compared in, e.g. ``as prepared``."""
    standard: bool = False
    """A known compound: mapped and drawn beside the specimens, but left out of the domains."""


class DatasetBody(Body):
    """One specimen, measured at one or more energies."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_DATASET]})

    title: Annotated[str, Field(min_length=1, max_length=200)]
    """A name for people."""
    sample: Sample
    absorber: Absorber
    distance_m: Annotated[float, Field(gt=0, lt=1000)] | None = None
    """Specimen to detector [m]; needed where the files do not say."""
    detector_pixel_size_m: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Detector pixel [m]; needed where the files do not say."""
    probe: ProbeSpec | None = None
    """How the probe starts; needed where the files hold none."""
    orientation: Literal[0, 1, 2, 3, 4, 5, 6, 7, "auto"] = 0
    """What brings the detector's frames to the positions' axes: the sum of 1 (flip rows), 2 (flip columns) and 4 (transpose,
    last), or ``auto``, which tries all eight at the lowest energy when the run begins."""
    beam_centre_px: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] | None = None
    """Row and column of the beam on the detector, as its frames are stored; else as the files say, else their middle."""
    n_pixels: Annotated[int, Field(ge=8, le=4096)] | None = None
    """Side to which frames are cropped about the beam's centre; else as large a square as there is."""


class RegisterBody(DatasetBody):
    """A measurement that already lies where the service may read."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"path": "/data/2024/particle-3", **EXAMPLE_DATASET}]})

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    """A file, or a folder of files, under one of the service's ``register_roots``."""


class RunBody(Body):
    """What to compute, on which datasets; every option has a default."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_RUN]})

    datasets: Annotated[list[str], Field(min_length=1, max_length=100)]
    """Datasets analysed together: their domains are found in common."""
    options: RunOptions = Field(default_factory=RunOptions)
    name: Annotated[str, Field(max_length=200)] = ""
    """A name for people."""

    @field_validator("datasets")
    @classmethod
    def _datasets_are_distinct(cls, datasets: list[str]) -> list[str]:
        twice = sorted({name for name in datasets if datasets.count(name) > 1})
        if twice:
            raise ValueError(f"each dataset may be named once, but {', '.join(twice)} came again")
        return datasets


class Page(BaseModel, Generic[Item]):
    """Part of a list, newest first."""

    items: list[Item]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next part; none at the end.")


class FaultAnswer(Answer):
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


class DatasetAnswer(Answer):
    """A dataset as it stands."""

    id: str
    title: str
    state: Literal["open", "sealed"]
    sample: dict[str, Any]
    absorber: dict[str, Any]
    distance_m: float | None
    detector_pixel_size_m: float | None
    probe: dict[str, Any] | None
    orientation: int | Literal["auto"]
    energies_ev: list[float]
    scans: list[ScanAnswer]
    n_bytes: int
    faults: list[FaultAnswer]
    created: datetime


class StageAnswer(Answer):
    """Progress of one stage, in units of work."""

    name: str
    done: int
    total: int
    state: str
    note: str | None = None


class RunAnswer(Answer):
    """A run as it stands."""

    id: str
    name: str
    state: RunState
    stages: list[StageAnswer]
    progress: float
    """Share of the work that is done, 0 to 1."""
    eta_s: float | None
    """Seconds that remain, as far as can be told."""
    dashboard_url: str | None
    """Where Dask shows the tasks at work."""
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
    """Whether the service is there."""

    status: Literal["ok", "ready", "starting"]


class VersionAnswer(BaseModel):
    """What runs here."""

    model_config = ConfigDict(extra="allow")

    ptyxas: str


class ProblemAnswer(BaseModel):
    """RFC 9457 problem; ``code`` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FaultAnswer]


class ImageQuery(Body):
    """How an array is drawn."""

    energy_ev: Annotated[float, Field(gt=0)] | None = None
    """Measured energy nearest to which the image is taken [eV]; for arrays that have energies."""
    cmap: Annotated[str, Field(max_length=40, pattern=r"^[A-Za-z0-9_]+$")] | None = None
    """A matplotlib colour map."""
    vmin: float | None = None
    """Value at the lower end of the colours."""
    vmax: float | None = None
    """Value at the upper end of the colours."""
    width: Annotated[int, Field(ge=64, le=4096)] = 800
    """Width of the picture [px]."""
