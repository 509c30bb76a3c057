"""How each energy of a run came out."""

from fastapi import APIRouter
from pydantic import BaseModel

from api.dependencies import RunId, ServiceDep
from api.openapi import problems
from api.schemas.answers import Answer
from api.schemas.numbers import Number, Numbers

router = APIRouter(prefix="/runs", tags=["runs"])


class EnergyRowAnswer(Answer):
    """One energy of one dataset; null and empty where that is not known yet."""

    dataset: str
    energy_ev: float
    n_cycles: int
    r_factor: Number
    noise_r_factor: Number
    """R that photon noise alone would leave."""
    n_modes: int | None
    resolution_m: Number
    """Full period at which the ring correlation with the next energy meets half a bit."""
    drift_px: tuple[Number, Number] | None
    """Drift that was removed (y, x)."""
    warnings: list[str]
    cycles: list[int]
    """Cycles of the curve of R, 100 at most."""
    errors: Numbers
    """R after each of ``cycles``."""


class EnergyTable(BaseModel):
    """Every energy that has been reconstructed as far as a finished round."""

    items: list[EnergyRowAnswer]


@router.get("/{run_id}/energies", responses=problems(404))
def list_energies(run_id: RunId, service: ServiceDep) -> EnergyTable:
    """R, photon noise, modes, resolution, drift and warnings by energy, while the run goes on and after."""
    return EnergyTable(items=[EnergyRowAnswer.model_validate(row) for row in service.runs.results.energies(run_id)])
