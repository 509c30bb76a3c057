"""Bodies and answers of the HTTP contract."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, field_validator

from service.records.views import DatasetKind, DatasetState, RunState
from tasks.options.run import RunOptions
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


def printable(text: str) -> str:
    """``text`` if it has no control characters: they would forge lines of logs and of tables, and do nothing in a title.

    Raises
    ------
    ValueError
        There is a control character, a line separator, or a change of the direction of writing.
    """
    for place, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in DIRECTIONS:
            raise ValueError(f"must not hold control characters, found U+{ord(character):04X} at character {place + 1}")
    return text


DIRECTIONS: Final = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of writing, so that text looks like another."""


def visible(text: str) -> str:
    """``text`` if it shows anything: blanks and signs without width are no title.

    Raises
    ------
    ValueError
        Nothing of it is seen.
    """
    if all(unicodedata.category(character)[0] in "ZC" for character in text):
        raise ValueError("must hold a character that is seen")
    return text


Line = Annotated[str, Field(max_length=200), AfterValidator(printable)]
"""One line of text for people."""
Title = Annotated[Line, Field(min_length=1), AfterValidator(visible)]
"""One line that is not blank."""
Pixel = Annotated[float, Field(ge=0, le=1e5)]
"""Place on the detector [px]."""
DatasetName = Annotated[str, Field(min_length=1, max_length=100)]
"""Id of a dataset."""


def finite_or_none(value: Any) -> Any:
    """``value`` with None for every number that JSON has no word for; None stays."""
    if isinstance(value, np.ndarray | list | tuple):
        return [finite_or_none(item) for item in value]
    return float(value) if value is not None and np.isfinite(value) else None


Number = Annotated[float | None, BeforeValidator(finite_or_none)]
Numbers = Annotated[list[float | None], BeforeValidator(finite_or_none)]
"""Numbers of an answer, null where they are not finite; from an array, too."""


class Body(BaseModel):
    """A request body. Unknown names are refused, and every number is finite."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Answer(BaseModel):
    """An answer, made from the service's plain values."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)


class Sample(Body):
    """The specimen."""

    name: Line = ""
    """Name of the specimen."""
    formula: Annotated[Line, Field(min_length=1)]
    """Chemical formula, fractions allowed: ``Li10/7V6/7O2``."""
    group: Line = ""
    """Group in which it is compared, e.g. ``as prepared``."""
    standard: bool = False
    """A known compound: mapped and drawn beside the specimens, but left out of the domains."""


class DatasetBody(Body):
    """One specimen, measured at one or more energies."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_DATASET]})

    title: Title
    """A title for people."""
    sample: Sample
    absorber: Absorber
    distance_m: Annotated[float, Field(ge=1e-6, lt=1000)] | None = None
    """Specimen to detector [m]; needed where the files do not say."""
    detector_pixel_size_m: Annotated[float, Field(ge=1e-9, lt=1)] | None = None
    """Detector pixel [m]; needed where the files do not say."""
    kind: DatasetKind = "diffraction"
    """Diffraction patterns, to be reconstructed, or images: one reconstructed object or one absorption image an energy."""
    pixel_size_m: Annotated[float, Field(ge=1e-12, lt=1)] | None = None
    """Pixel of images [m]; needed where the files do not say."""
    probe: ProbeSpec | None = None
    """How the probe starts; needed where the files hold none."""
    orientation: Annotated[int, Field(ge=0, le=7)] | Literal["auto"] = 0
    """What brings the detector's frames to the axes of the positions: the sum of 1 (flip rows), 2 (flip columns) and 4
    (transpose, last), or ``auto``, which tries all eight at the lowest energy when the run begins."""
    beam_centre_px: tuple[Pixel, Pixel] | None = None
    """Row and column of the beam on the detector, as its frames are stored; by default as the files say, else their middle."""
    n_pixels: Annotated[int, Field(ge=8, le=4096)] | None = None
    """Side to which frames are cropped about the beam's centre; by default the largest square."""
    saturation_count: Annotated[float, Field(gt=0, le=2**32)] | None = None
    """Smallest reading of a pixel that is no count; by default as the files state, else the end of the counter's range."""
    bad_frames: Literal["refuse", "leave_out", "keep"] = "refuse"
    """What becomes of frames that no reconstruction can use (dark, far too bright, never written, at a position that stuck):
    the scan is refused with their names, stored without them, or with them; the scan's warnings tell which."""


class SampleChanges(Body):
    """What of the specimen's description is to change."""

    name: Line | None = None
    group: Line | None = None


class DatasetChanges(Body):
    """What of a dataset's description is to change; what is left out stays."""

    title: Title | None = None
    sample: SampleChanges | None = None
    labels: Annotated[list[Annotated[Line, Field(min_length=1, max_length=64)]], Field(max_length=50)] | None = None


class RunChanges(Body):
    """What of a run is to change."""

    name: Annotated[Line, Field(min_length=1)]


class RegisterBody(DatasetBody):
    """A measurement that already lies where the service may read."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"path": "/data/2024/particle-3", **EXAMPLE_DATASET}]})

    path: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(printable)]
    """A file, or a folder of files, under one of the service's ``register_roots``."""


class RunBody(Body):
    """What to compute, on which datasets; every option has a default."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_RUN]})

    datasets: Annotated[list[DatasetName], Field(min_length=1, max_length=100)]
    """Datasets that are analysed together: their domains are found in common."""
    options: RunOptions = Field(default_factory=RunOptions)
    name: Line = ""
    """A name for people."""

    @field_validator("datasets")
    @classmethod
    def _datasets_are_distinct(cls, datasets: list[str]) -> list[str]:
        twice = sorted({name for name in datasets if datasets.count(name) > 1})
        if twice:
            raise ValueError(f"each dataset may be named once, but {', '.join(twice)} are named again")
        return datasets


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


class ImageQuery(Body):
    """How a map is drawn."""

    energy_ev: Annotated[float, Field(gt=0, lt=1e6)] | None = None
    """The measured energy nearest to this one is drawn [eV]; for arrays over energy."""
    cmap: Annotated[str, Field(max_length=40, pattern=r"^[A-Za-z0-9_]+$")] | None = None
    """A matplotlib colour map."""
    vmin: Annotated[float, Field(ge=-1e30, le=1e30)] | None = None
    """Value at the lower end of the colour map."""
    vmax: Annotated[float, Field(ge=-1e30, le=1e30)] | None = None
    """Value at the upper end of the colour map."""
    width: Annotated[int, Field(ge=64, le=2048)] = 800
    """Width of the image [px]."""
    plain: bool = False
    """The map alone, one pixel of the file for each of the array, whose rows and columns ``align.vacuum_box`` counts."""
