"""Inputs of a run: what its graph depends on of each dataset and scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from storage.datasets.dataset_kind import DatasetKind
from tasks.ptycho.scan import Canvas

MIN_ENERGIES: Final = 10
"""Fewest energies of a spectrum: eq. 1 has ten parameters."""
MATCHING_ENERGY_EV: Final = 0.05
"""Energies of two datasets, or one that a user names, match to this [eV]: wider than a duplicate within a dataset, for a
monochromator returns to an energy less exactly than it is read; steps at the edge are ten times as large."""


@dataclass(frozen=True)
class ScanInput:
    """One energy's scan."""

    name: str
    energy_ev: float
    n_positions: int
    n_pixels: int
    sha256: str
    canvas: Canvas
    """Grid of the object; of an image, which has no positions and no frames, its own."""


@dataclass(frozen=True)
class RunInput:
    """One dataset.

    Attributes
    ----------
    absorber : mapping
        ``element`` and ``edge``.
    measurement : mapping
        What the objects depend on besides the scans, JSON-able: ``probe``, the optics, and ``orientation`` where it is to be
        found.
    standard : bool
        A known compound: it is mapped like the others, but is no part of the domains.
    warnings : tuple of str
        What was decided or assumed about the scans, one sentence each.
    kind : DatasetKind
    has_phase : bool
        Whether there are complex objects, or will be; else there is absorption alone.
    is_normalised : bool
        Whether absorption alone came with I0 taken out.
    """

    id: str
    title: str
    group: str
    formula: str
    absorber: Mapping[str, str]
    measurement: Mapping[str, Any]
    scans: tuple[ScanInput, ...]
    is_open: bool = False
    standard: bool = False
    warnings: tuple[str, ...] = ()
    kind: DatasetKind = "diffraction"
    has_phase: bool = True
    is_normalised: bool = False

    @property
    def energies_ev(self) -> list[float]:
        """Energies [eV], ascending."""
        return [scan.energy_ev for scan in self.scans]

    @property
    def is_spectrum(self) -> bool:
        """Whether all energies have arrived and there are enough of them for spectra."""
        return not self.is_open and len(self.scans) >= MIN_ENERGIES

    def has_energy(self, energy_ev: float) -> bool:
        """Whether it was measured at an energy [eV]."""
        return any(abs(measured - energy_ev) <= MATCHING_ENERGY_EV for measured in self.energies_ev)

    def without(self, energies_ev: Sequence[float]) -> "RunInput":
        """The same dataset as if nothing had been measured at these energies [eV]."""
        kept = (scan for scan in self.scans if all(abs(scan.energy_ev - one) > MATCHING_ENERGY_EV for one in energies_ev))
        return replace(self, scans=tuple(kept)) if energies_ev else self


def energy_label(energy_ev: float) -> str:
    """An energy as part of a name: ``5420.0eV``, with more digits only where they are needed."""
    digits = next((n for n in (1, 3) if abs(energy_ev - round(energy_ev, n)) < 1e-6), 6)
    return f"{energy_ev:.{digits}f}eV"
