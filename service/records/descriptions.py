"""How a dataset is described: checked when it is opened, and read back from what its store holds."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from service.api_keys import DEFAULT_PROJECT
from service.errors import FieldError
from storage.datasets.dataset_kind import DatasetKind, holds_images
from tasks.errors import TaskError
from tasks.formula import composition
from tasks.ptycho.probe import ProbeSpec
from tasks.scattering import LOWEST_EV, Absorber

Moment = Annotated[datetime, AfterValidator(lambda value: value if value.tzinfo else value.replace(tzinfo=UTC))]


class Stored(BaseModel):
    """Part of what a store holds of a dataset; what else it holds is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class StoredSample(Stored):
    """The specimen."""

    name: str = ""
    formula: str
    group: str = ""
    standard: bool = False


class StoredAbsorber(Stored):
    """The element whose edge was scanned."""

    element: Annotated[str, Field(max_length=8)]
    edge: Annotated[str, Field(max_length=8)]


class Provenance(Stored):
    """When the dataset was opened."""

    created: Moment


class Measurement(Stored):
    """How a dataset was measured; the defaults are those of every dataset that says nothing of it."""

    kind: DatasetKind = "diffraction"
    distance_m: float | None = None
    detector_pixel_size_m: float | None = None
    probe: dict[str, Any] | None = None
    orientation: int | Literal["auto"] = 0


class StoredDescription(Measurement):
    """The attributes of a dataset's store."""

    title: str
    sample: StoredSample
    absorber: StoredAbsorber
    provenance: Provenance
    sealed: bool
    project: Annotated[str, Field(max_length=64)] = DEFAULT_PROJECT
    labels: tuple[Annotated[str, Field(max_length=64)], ...] = ()


def description_faults(attributes: Mapping[str, Any]) -> str | None:
    """Why attributes are not those of a dataset; None where they are."""
    try:
        StoredDescription.model_validate(attributes)
    except ValidationError as error:
        return "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())
    return None


def spec_faults(spec: Mapping[str, Any]) -> list[FieldError]:
    """What is wrong with a new dataset's description, field by field."""
    faults = []
    absorber = Absorber(**spec["absorber"])
    try:
        if absorber.edge_energy_ev < LOWEST_EV:
            text = (
                f"absorber: the {absorber.element} {absorber.edge} edge lies at {absorber.edge_energy_ev:.1f} eV; the tables of "
            )
            faults.append(FieldError("absorber", f"{text}scattering factors begin at {LOWEST_EV:g} eV"))
    except TaskError as error:
        faults.append(FieldError("absorber", str(error)))
    try:
        if absorber.element not in composition(spec["sample"]["formula"]):
            text = f"sample.formula must contain the absorber {absorber.element}, got {spec['sample']['formula']!r}"
            faults.append(FieldError("sample.formula", text))
    except TaskError as error:
        faults.append(FieldError("sample.formula", str(error)))
    try:
        TypeAdapter(ProbeSpec).validate_python(spec.get("probe") or {})
    except ValidationError as error:
        for item in error.errors():
            field = ".".join(("probe", *(str(part) for part in item["loc"])))
            faults.append(FieldError(field, f"{field}: {item['msg']}"))
    return faults + kind_faults(spec)


def edge_energy_ev(attributes: Mapping[str, Any]) -> float | None:
    """Tabulated energy of the edge at which a dataset is measured [eV]; None where its attributes name none."""
    try:
        return Absorber(**attributes["absorber"]).edge_energy_ev
    except (TaskError, LookupError, TypeError, ValidationError):
        return None


DETECTOR_FIELDS: Final[Mapping[str, Any]] = {
    **Measurement().model_dump(exclude={"kind"}),
    **{"beam_centre_px": None, "n_pixels": None, "saturation_count": None, "bad_frames": "refuse"},
}
"""What is stated of diffraction patterns only, and what it is where nothing is stated."""


def kind_faults(spec: Mapping[str, Any]) -> list[FieldError]:
    """Fields of a new dataset's description that have no meaning for its kind."""
    if holds_images(spec):
        stated = [name for name, default in DETECTOR_FIELDS.items() if spec.get(name, default) != default]
        return [FieldError(name, f"{name} has no meaning for images, which have no detector: leave it out") for name in stated]
    if spec.get("pixel_size_m") is None:
        return []
    return [FieldError("pixel_size_m", "pixel_size_m is that of images; that of diffraction patterns is detector_pixel_size_m")]


def with_defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A new dataset's attributes, every name present."""
    sample = {"name": "", "group": "", "standard": False, **spec["sample"]}
    absorber = Absorber(**spec["absorber"])
    about = {"sample": sample, "absorber": {"element": absorber.element, "edge": absorber.edge}}
    return {**Measurement().model_dump(), **spec, **about}
