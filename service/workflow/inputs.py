"""What a run must know of its datasets before anything is computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tasks.ptycho.scan import Canvas

MIN_ENERGIES: Final = 10
"""Eq. 1 has ten parameters."""


@dataclass(frozen=True)
class ScanInput:
    """What the graph must know of one energy's scan."""

    name: str
    energy_ev: float
    n_positions: int
    n_pixels: int
    sha256: str
    canvas: Canvas


@dataclass(frozen=True)
class RunInput:
    """What the graph must know of one dataset; ``measurement`` is all else that its images depend on (JSON-able)."""

    id: str
    title: str
    group: str
    formula: str
    absorber: Mapping[str, str]
    measurement: Mapping[str, Any]
    scans: tuple[ScanInput, ...]
    is_open: bool = False
    standard: bool = False
    """A known compound: mapped like the rest, but no part of the domains."""

    @property
    def energies_ev(self) -> list[float]:
        """Energies [eV], ascending."""
        return [scan.energy_ev for scan in self.scans]

    @property
    def is_spectrum(self) -> bool:
        """Whether all energies are there, and enough of them."""
        return not self.is_open and len(self.scans) >= MIN_ENERGIES
