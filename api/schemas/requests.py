"""Bodies and queries of requests."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, field_validator

from api.schemas.body import Body
from api.schemas.text import DatasetName, Line, Title, printable
from service.records.views import DatasetKind
from tasks.options.run import RunOptions
from tasks.ptycho.probe import ProbeSpec
from tasks.scattering import Absorber

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
Pixel = Annotated[float, Field(ge=0, le=1e5)]
"""Place on the detector [px]."""
Labels = Annotated[list[Annotated[Line, Field(min_length=1, max_length=64)]], Field(max_length=50)]
"""Words by which datasets are found again."""


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
    labels: Labels = Field(default_factory=list)
    """Words by which the dataset is found again; they can be changed."""


class SampleChanges(Body):
    """What of the specimen's description is to change."""

    name: Line | None = None
    group: Line | None = None


class DatasetChanges(Body):
    """What of a dataset's description is to change; what is left out stays."""

    title: Title | None = None
    sample: SampleChanges | None = None
    labels: Labels | None = None


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
