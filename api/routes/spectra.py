"""Spectra of pixels and areas of a run's results."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, model_validator

from api.dependencies import RunId, ServiceDep
from api.openapi import problems
from api.schemas.answers import Answer
from api.schemas.body import Body
from api.schemas.numbers import Number, Numbers
from api.schemas.text import DatasetName, Line
from service.results.area_spectra import Area

router = APIRouter(prefix="/runs", tags=["results"])

Row = Annotated[int, Field(ge=0, le=10**6)]
Place = Annotated[float, Field(ge=-1e6, le=1e6)]
MAX_AREAS: Final = 20


class AreaBody(Body):
    """Pixels of one dataset: exactly one of ``pixel``, ``box`` and ``polygon``, in pixels (row, column) from 0."""

    dataset: DatasetName
    name: Line = ""
    """What the answer calls the area."""
    pixel: tuple[Row, Row] | None = None
    """Row and column."""
    box: tuple[Row, Row, Row, Row] | None = None
    """First row, first column, last row, last column; all of them belong to the area."""
    polygon: Annotated[list[tuple[Place, Place]], Field(min_length=3, max_length=2000)] | None = None
    """Corners (row, column); pixels whose centres lie inside belong to the area."""

    @model_validator(mode="after")
    def _has_one_shape(self) -> "AreaBody":
        given = [name for name in ("pixel", "box", "polygon") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of pixel, box and polygon, got {' and '.join(given) or 'none'}")
        return self


class SpectraBody(Body):
    """Areas whose spectra are wanted."""

    areas: Annotated[list[AreaBody], Field(min_length=1, max_length=MAX_AREAS)]


class AreaFitAnswer(Answer):
    """The model of ``fit.model`` as it describes the spectrum, in the unit of the absorption."""

    parameters: dict[str, Number]
    """Its parameters, by the names of the maps."""
    sigma: dict[str, Number]
    """One standard error of each."""
    curve_energy_ev: Numbers
    curve: Numbers
    """The fitted absorption at ``curve_energy_ev``."""
    residual: Numbers
    """Spectrum minus fit, at each energy."""


class AreaSpectrumAnswer(Answer):
    """Mean absorption and phase of an area at each energy with standard errors, the fit of the model, and ratios of sums."""

    dataset: str
    name: str
    n_pixels: int
    """Those that every energy has seen, over which the spectra are taken."""
    n_kept: int
    """Pixels with maps, over which the ratios are taken."""
    energy_ev: Numbers
    absorption: Numbers
    absorption_sigma: Numbers
    """Standard error; noise of pixels is as correlated as the attribute ``noise_correlation`` of the results' maps says."""
    phase: Numbers
    """Null, like its errors, of absorption alone."""
    phase_sigma: Numbers
    fit: AreaFitAnswer | None
    fit_refused: str
    """Why there is no fit; empty where there is one."""
    ratios: dict[str, tuple[Number, Number]]
    """``electron_ratio`` and ``pre_edge_ratio`` [eV]: sums over sums, and one standard error."""


class SpectraAnswer(BaseModel):
    """One spectrum an area, in the order asked for."""

    items: list[AreaSpectrumAnswer]


@router.post("/{run_id}/spectra", responses=problems(404, 409, 422))
def read_spectra(run_id: RunId, body: SpectraBody, service: ServiceDep) -> SpectraAnswer:
    """Spectra of areas with standard errors, the fit of the run's model and ratios of sums; nothing is stored."""
    found = service.runs.results.spectra(run_id, [Area(**area.model_dump()) for area in body.areas])
    return SpectraAnswer(items=[AreaSpectrumAnswer.model_validate(one) for one in found])


@router.get("/{run_id}/spectrum", responses=problems(404, 409, 422))
def read_spectrum(
    run_id: RunId,
    service: ServiceDep,
    dataset: Annotated[str, Query(min_length=1, max_length=100)],
    y: Annotated[int, Query(ge=0, le=10**6, description="Row of the pixel, from 0.")],
    x: Annotated[int, Query(ge=0, le=10**6, description="Column of the pixel, from 0.")],
) -> AreaSpectrumAnswer:
    """Spectrum of one pixel, with its fit as the maps hold it."""
    [found] = service.runs.results.spectra(run_id, [Area(dataset, pixel=(y, x))])
    return AreaSpectrumAnswer.model_validate(found)
