"""Options of what brings the energies together: alignment, and the Kramers-Kronig constraint."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic.dataclasses import dataclass

from tasks.options.config import CONFIG, MOST_CYCLES

MOST_LEFT_OUT: Final = 1000
Index = Annotated[int, Field(ge=0, le=100_000)]


def as_list(value: Any) -> Any:
    """A number alone as a list of one."""
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


@dataclass(frozen=True, config=CONFIG)
class AlignOptions:
    """One pixel grid, one gauge and one origin for all energies."""

    vacuum_box: tuple[Index, Index, Index, Index] | None = None
    """Rows and columns (y0, y1, x0, x1) of the common grid known to be empty; found automatically where not given."""
    min_vacuum_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Share of the scanned field that must be empty for the gauge to be fixed."""
    drift: Literal["find", "none"] = "find"
    """Find how far the specimen moved between energies, or take it that images are aligned already."""
    gauge: Literal["find", "none"] = "find"
    """Set the vacuum of every object to one and its phase to a plane, or take it that objects from elsewhere come that way, as
    those that ptyxas exports do."""
    energy_offset_ev: Annotated[float, Field(ge=-50, le=50)] = 0.0
    """Calibration: added to every energy [eV] before it meets the tables. The tabulated edge of a metal foil minus the
    edge found on the beamline; ``ptyxas submit --foil`` takes it from the foil's spectrum."""
    leave_out_ev: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...], Field(max_length=MOST_LEFT_OUT), BeforeValidator(as_list)
    ] = ()
    """Measured energies [eV], before calibration, that the run does without, such as one at which the beam was lost. What was
    finished of the others is used again."""

    @field_validator("vacuum_box")
    @classmethod
    def _box_holds_pixels(cls, box: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
        if box is not None and not (box[0] < box[1] and box[2] < box[3]):
            raise ValueError(f"must be rows y0 < y1 and columns x0 < x1, got (y0, y1, x0, x1) = {box}")
        return box


@dataclass(frozen=True, config=CONFIG)
class KKROptions:
    """Kramers-Kronig coupling of the energies."""

    mode: Literal["joint", "absorption_to_phase", "phase_to_absorption", "off"] = "joint"
    """Direction of the constraint: the weighted least-squares compromise, one way, the other way, or none."""
    start: Annotated[int, Field(ge=1, le=MOST_CYCLES)] = 500
    """Cycle after which the constraint is first applied; with ``reconstruct.cycles="auto"`` it is applied once, at the end."""
    every: Annotated[int, Field(ge=1, le=MOST_CYCLES)] = 50
    """Cycles between two applications."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the correction that is applied within the reconstruction."""
