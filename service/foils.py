"""Calibration of a beamline's energies by the spectrum of a metal foil."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.scattering import Absorber


@dataclass(frozen=True)
class FoilCalibration:
    """What a foil's spectrum says of the axis it was measured on."""

    edge_ev: float
    """The foil's edge on the beamline's axis [eV]."""
    tabulated_ev: float
    """The edge in the tables [eV]."""

    @property
    def offset_ev(self) -> float:
        """What to add to the beamline's energies [eV], the option ``align.energy_offset_ev``."""
        return round(self.tabulated_ev - self.edge_ev, 3)


def calibrate(xdi: str | bytes, absorber: "Absorber") -> FoilCalibration:
    """Find the edge of a foil of the absorber.

    Parameters
    ----------
    xdi : str or bytes
        The foil's spectrum, an XDI file.
    absorber : Absorber

    Raises
    ------
    ReferenceFormatError
        Not XDI, of another element or edge, or with an edge that cannot be told.
    """
    # Numerics that most commands do not need.
    from tasks.xanes.references.foil import first_inflection_ev
    from tasks.xanes.references.xdi import read_xdi

    return FoilCalibration(first_inflection_ev(read_xdi(xdi), absorber), absorber.edge_energy_ev)
