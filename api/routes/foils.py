"""The energies of a dataset against the spectrum of a metal foil."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from api.dependencies import DatasetId, ServiceDep
from api.openapi import problems
from api.schemas.answers import Answer
from api.schemas.body import Body
from tasks.scattering import Absorber
from tasks.xanes.references.foil import calibrate
from tasks.xanes.references.xdi import MAX_BYTES

router = APIRouter(prefix="/datasets", tags=["datasets"])


class FoilBody(Body):
    """The spectrum of a metal foil."""

    xdi: Annotated[str, Field(max_length=MAX_BYTES)]
    """The text of an XDI file, measured on the axis of the dataset's energies."""


class FoilAnswer(Answer):
    """What a foil's spectrum says of the axis it was measured on."""

    edge_ev: float
    """The foil's edge on the beamline's axis [eV]."""
    tabulated_ev: float
    """The edge in the tables [eV]."""
    offset_ev: float
    """What to add to the beamline's energies [eV], the option ``align.energy_offset_ev``."""


@router.post("/{dataset_id}/foil", responses=problems(404, 422))
def calibrate_energies(dataset_id: DatasetId, body: FoilBody, service: ServiceDep) -> FoilAnswer:
    """Find the edge of a foil of the dataset's absorber, and what to add to the energies; nothing is stored."""
    absorber = Absorber(**service.datasets.get(dataset_id).absorber)
    return FoilAnswer.model_validate(calibrate(body.xdi, absorber))
