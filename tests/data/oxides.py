"""A simulated particle that is V2O3 on one side and V2O5 on the other, with the spectra of the powders' files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.coupling.kkr import table_energies, transform_matrix
from tasks.scattering import Absorber, relativistic_charge, tabulated_f2
from tasks.simulation import specimen as simulation
from tasks.simulation import truth
from tasks.simulation.chemical_states import ABSORPTION_JUMP, STATES, ChemicalState
from tasks.simulation.specimen import Simulation, SimulationOptions, Specimen, grow_specimen
from tasks.xanes.references.normalisation import read_reference

Array = NDArray[np.float64]
OXYGEN_ATOMS: Final = {"V2O3": 1.5, "V2O5": 2.5}
"""Oxygen atoms per vanadium atom."""
N_STEPS: Final = 41
"""Mixtures from one pure oxide to the other, both included."""


class GradedSpecimen(Specimen):
    """A particle whose share of V2O5 grows from left to right."""

    def state(self, y_m: Array, x_m: Array) -> NDArray[np.int64]:
        """Index of the mixture at points of any shape."""
        return np.rint((N_STEPS - 1) * self.share(y_m, x_m)).astype(np.int64)

    def share(self, y_m: Array, x_m: Array) -> Array:
        """Share of V2O5, from 0 to 1 over the middle two thirds."""
        return np.clip(0.5 + 0.75 * np.broadcast_to(x_m, np.broadcast(y_m, x_m).shape) / self.radius_m, 0, 1)


@dataclass(frozen=True)
class OxideMixture:
    """A measurement of the graded particle.

    Parameters
    ----------
    measured : Simulation
    references : tuple of str
        Texts of the XDI files, V2O3 first.
    """

    measured: Simulation
    references: tuple[str, ...]

    def share(self, y_m: Array, x_m: Array, phase: Array) -> tuple[Array, NDArray[np.bool_]]:
        """True share of V2O5 (Y, X) on a run's grid, and where the particle is thick, found on its first phase image."""
        with graded_simulation(self.references):
            offset = truth.find_offset(self.measured, y_m, x_m, phase)
        y, x = np.meshgrid(y_m - offset[0], x_m - offset[1], indexing="ij")
        specimen = self.measured.specimen
        assert isinstance(specimen, GradedSpecimen)
        return specimen.share(y, x), specimen.thickness(y, x) > 0.6 * specimen.thickness_m


def measure_oxides(references: tuple[str, ...], **options: Any) -> OxideMixture:
    """Measure the graded particle; ``options`` are those of `SimulationOptions`."""
    with graded_simulation(references):
        return OxideMixture(simulation.simulate(SimulationOptions(**options)), references)


@contextmanager
def graded_simulation(references: tuple[str, ...]) -> Iterator[None]:
    """While the block runs, the simulation grows the graded particle and takes its spectra from ``references``."""
    states = tuple(replace(STATES[0], formula="V2O3") for _ in range(N_STEPS))

    def grow(options: SimulationOptions) -> GradedSpecimen:
        return GradedSpecimen(**vars(grow_specimen(options)) | {"states": states})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "grow_specimen", grow)
        for module in (simulation, truth):
            patch.setattr(module, "electrons_per_formula", electrons_of_mixtures(references))
        yield


def electrons_of_mixtures(
    references: tuple[str, ...],
) -> Callable[[tuple[ChemicalState, ...], Array, Absorber], NDArray[np.complex128]]:
    """Replaces `electrons_per_formula` of the simulation: f'' of a vanadium atom is that of the powders."""

    def electrons(states: tuple[ChemicalState, ...], energy_ev: Array, absorber: Absorber) -> NDArray[np.complex128]:
        edge = absorber.edge_energy_ev
        nodes = np.unique(np.concatenate([table_energies(energy_ev), np.arange(edge - 60, edge + 120, 0.1), energy_ev]))
        near = np.clip((320 - np.abs(nodes - edge)) / 200, 0, 1)
        matrix, at = transform_matrix(energy_ev, nodes), np.searchsorted(nodes, energy_ev)
        floor = tabulated_f2("V", np.array([edge - 60.0]))[0]
        oxygen, pure = tabulated_f2("O", nodes), []
        for text, n_oxygen in zip(references, OXYGEN_ATOMS.values(), strict=True):
            powder = read_reference(text, absorber)
            f2 = near * (floor + ABSORPTION_JUMP * np.interp(nodes, powder.energy_ev, powder.absorption))
            f2 += (1 - near) * tabulated_f2("V", nodes) + n_oxygen * oxygen
            charge = relativistic_charge("V") + n_oxygen * relativistic_charge("O")
            pure.append(charge + matrix @ f2 + 1j * f2[at])
        share = np.linspace(0, 1, N_STEPS)
        return np.asarray(pure[0][:, None] * (1 - share) + pure[1][:, None] * share)

    return electrons
