"""Known compounds beside the specimens of a run: their theoretical ratios, and their reference spectra."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from storage.results import Group
from tasks.chemistry import theoretical_electron_ratio
from tasks.figures.study import ReferenceSpectrum
from tasks.options import RunOptions
from tasks.scattering import Absorber
from tasks.xanes.model import PARAMETERS, pre_edge_ratio
from tasks.xanes.references import fit_reference, prepare


def theoretical_ratios(
    formulas: Iterable[str], phase_energy_ev: float | None, absorber: Mapping[str, str], options: RunOptions
) -> dict[str, float]:
    """Electrons per absorber atom, by formula, of the specimens and of the compounds asked for; without an energy, none."""
    if phase_energy_ev is None:
        return {}
    return {
        formula: theoretical_electron_ratio(formula, phase_energy_ev, Absorber(**absorber), options.chemistry)
        for formula in dict.fromkeys([*formulas, *options.chemistry.compounds])
    }


def reference_spectra(absorber: Mapping[str, str], options: RunOptions) -> tuple[ReferenceSpectrum, ...]:
    """The reference compounds, normalised, in the words of the figures; each with eq. 1 fitted to it."""
    edge_ev = Absorber(**absorber).edge_energy_ev
    found = prepare(options.references.xdi, edge_ev)
    return tuple(
        ReferenceSpectrum(one.name, one.energy_ev, one.absorption, fit_reference(one, edge_ev).parameters[:, 0]) for one in found
    )


def references_group(energy_ev: NDArray[np.float64], absorber: Mapping[str, str], options: RunOptions) -> Group:
    """The reference compounds at the measured energies (E,) [eV], and what eq. 1 fitted to each says."""
    edge_ev = Absorber(**absorber).edge_energy_ev
    found = prepare(options.references.xdi, edge_ev)
    fits = [fit_reference(one, edge_ev) for one in found]
    edge = PARAMETERS.index("edge_energy")
    arrays = {
        "absorption": np.stack([np.interp(energy_ev, one.energy_ev, one.absorption) for one in found]),
        "edge_energy": np.array([fit.parameters[edge, 0] for fit in fits]),
        "edge_energy_sigma": np.array([fit.sigma[edge, 0] for fit in fits]),
        "pre_edge_ratio": np.array([pre_edge_ratio(fit.parameters)[0] for fit in fits]),
        "pre_edge_ratio_sigma": np.array([fit.pre_edge_ratio_sigma[0] for fit in fits]),
    }
    return Group({"reference": np.array([one.name for one in found]), "energy": energy_ev}, arrays)
