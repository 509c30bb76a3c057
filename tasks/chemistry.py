"""From fitted spectra and phase to projected densities and ratios: eqs 2-5 of Uematsu et al., PCCP 2023, 25, 3867."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy as np
import xraydb
from numpy.typing import NDArray

from tasks.errors import FormulaError, InvalidOptionError
from tasks.formula import composition
from tasks.options.domains import Descriptor
from tasks.options.spectra import ChemistryOptions
from tasks.scattering import Absorber, tabulated_f1, tabulated_step
from tasks.units import electrons_per_absorption
from tasks.xanes.fit import SpectrumFit
from tasks.xanes.mask import kept
from tasks.xanes.model import PARAMETERS, pre_edge_area, pre_edge_ratio
from tasks.xanes.uncertainty.neighbours import INDEPENDENT, NoiseCorrelation, error_of_sum
from tasks.xanes.uncertainty.unresolved import unresolved_variance

PAPER_JUMP: Final = 3.53
"""Step of f'' across the V K edge [electrons], of the paper."""

PAPER_F1: Final[Mapping[str, float]] = {"V": -7.14, "Li": 0.00278, "O": 0.0757}
"""f' [electrons] just below the V K edge, of the paper."""


STATE_MAPS: Final = frozenset(get_args(Descriptor)) - {"edge_jump", "pre_edge_height", "pre_edge_area", "white_line_height"}
"""Maps of what a place is in, which do not grow with the amount of matter."""


@dataclass(frozen=True)
class Density:
    """A projected number density and its standard error, both [m^-2] and of one shape."""

    value: NDArray[np.float64]
    sigma: NDArray[np.float64]


def f2_step(absorber: Absorber, options: ChemistryOptions) -> float:
    """Step of f'' across the absorber's edge [electrons].

    Preset ``chantler`` extends the tabulated f'' from either side to the edge, as a power of the energy.

    Raises
    ------
    InvalidOptionError
        Preset ``paper`` for anything but the V K edge.
    FormulaError
        An element or edge the tables do not know.
    """
    if options.preset == "paper":
        if (absorber.element, absorber.edge) != ("V", "K"):
            raise InvalidOptionError(
                f'chemistry.preset "paper" holds constants of the V K edge only; the absorber is {absorber.element} '
                f'{absorber.edge}. Choose preset "chantler"'
            )
        return PAPER_JUMP
    return tabulated_step(absorber)


def f1(element: str, energy_ev: float, options: ChemistryOptions) -> float:
    """f' of an atom [electrons] at ``energy_ev`` [eV]: the preset's constant, else Chantler's."""
    if options.preset == "paper" and element in PAPER_F1:
        return PAPER_F1[element]
    return float(tabulated_f1(element, np.array([energy_ev]))[0])


def theoretical_electron_ratio(formula: str, energy_ev: float, absorber: Absorber, options: ChemistryOptions) -> float:
    """Re[Ne]/N of eq. 5 for a pure compound, extended to any formula: ``sum_j (Z_j + f'_j) n_j / n_absorber``.

    Parameters
    ----------
    formula : str
        Such as ``LiVO2`` or ``Li10/7V6/7O2``.
    energy_ev : float
        Where f' is taken [eV], the energy of the phase map.
    absorber : Absorber
    options : ChemistryOptions

    Raises
    ------
    FormulaError
        The formula cannot be read or holds none of the absorber.
    """
    atoms = composition(formula)
    if not atoms.get(absorber.element, 0.0) > 0.0:
        raise FormulaError(f"{formula!r} must contain the absorber {absorber.element}, got atoms of {', '.join(atoms)}")
    electrons = sum(n * (xraydb.atomic_number(e) + f1(e, energy_ev, options)) for e, n in atoms.items())
    return float(electrons / atoms[absorber.element])


def absorber_density(
    edge_jump: NDArray[np.float64], sigma: NDArray[np.float64], absorber: Absorber, options: ChemistryOptions
) -> Density:
    """N = dmu / (r_e lambda df'') of eqs 2-3, lambda at the edge, from the edge jump of the amplitude absorption."""
    per_atom = float(electrons_per_absorption(absorber.edge_energy_ev)) * f2_step(absorber, options)
    return Density(edge_jump / per_atom, sigma / per_atom)


def electron_density(phase: NDArray[np.floating], sigma: NDArray[np.floating] | float, energy_ev: float) -> Density:
    """Re[Ne] = -phi / (r_e lambda) of eq. 4, from the phase [rad] at ``energy_ev`` [eV]."""
    per_electron = float(electrons_per_absorption(energy_ev))
    value = -np.asarray(phase, dtype=np.float64) / per_electron
    return Density(value, np.broadcast_to(np.asarray(sigma, dtype=np.float64) / per_electron, value.shape))


def ratio(above: Density, below: Density) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Quotient of two independent densities and its standard error, NaN where the lower one is not positive."""
    base = np.where(below.value > 0, below.value, np.nan)
    value = above.value / base
    return value, np.hypot(above.sigma, value * below.sigma) / base


def area_ratio(
    above: Density, below: Density, area: NDArray[np.bool_], noise: NoiseCorrelation = INDEPENDENT
) -> tuple[float, float]:
    """Quotient over an area, the sum of one density over the sum of the other, and its standard error.

    A mean of ratios would be led by the pixels with the least in them. Pixels where either density is NaN are left out.

    Parameters
    ----------
    above, below : Density
    area : bool array of their shape (Y, X)
        True inside.
    noise : NoiseCorrelation
        How that of neighbouring pixels is correlated.
    """
    inside = area & np.isfinite(above.value) & np.isfinite(below.value)
    value, sigma = ratio(_total(above, inside, noise), _total(below, inside, noise))
    return float(value), float(sigma)


def _total(density: Density, inside: NDArray[np.bool_], noise: NoiseCorrelation) -> Density:
    sigma = error_of_sum(np.where(inside, density.sigma, 0.0), noise)
    return Density(np.asarray(np.sum(density.value[inside])), np.asarray(sigma))


def chemistry_maps(
    fit: SpectrumFit,
    status: NDArray[np.int8],
    phase: NDArray[np.floating],
    sigma_phase: NDArray[np.floating] | float,
    phase_energy_ev: float,
    absorber: Absorber,
    options: ChemistryOptions,
    further: Mapping[str, NDArray[np.float64]] | None = None,
    noise: NoiseCorrelation = INDEPENDENT,
) -> dict[str, NDArray[Any]]:
    """Every map of one specimen.

    Parameters
    ----------
    fit : SpectrumFit
        Of the n = Y * X pixels in rows, all tiles together.
    status : (n,) int8 array
        From `tasks.xanes.mask.mask_pixels`.
    phase : (Y, X) float array [rad]
        phi < 0 in matter, at ``phase_energy_ev`` [eV].
    sigma_phase : float or (Y, X) float array [rad]
        Its standard error.
    absorber : Absorber
    options : ChemistryOptions
    further : mapping of str to (n,) float64 array, optional
        More maps by name.
    noise : NoiseCorrelation
        How that of neighbouring pixels is correlated.

    Returns
    -------
    dict of (Y, X) arrays
        float32: the ten parameters of eq. 1, ``pre_edge_area``, ``pre_edge_ratio`` [eV], ``n_absorber``, ``n_electron`` [m^-2],
        ``electron_ratio``, ``residual``, and ``<name>_sigma`` for ``n_electron`` and every `tasks.options.domains.Descriptor`
        among them, which for `STATE_MAPS` includes the `unresolved_variance`; ``status`` int8 and ``mask`` bool, True = kept.
        Masked pixels are NaN in every map but those of ``n_electron``, which needs no spectrum.
    """
    shape = np.shape(phase)
    if fit.status.shape != (int(np.prod(shape)),):
        raise InvalidOptionError(f"fits of {fit.status.size} pixels do not fill a phase image of {shape}; is a tile missing?")
    jump = PARAMETERS.index("edge_jump")
    absorbers = absorber_density(fit.parameters[jump], fit.sigma[jump], absorber, options)
    electrons = electron_density(np.ravel(phase), np.ravel(np.broadcast_to(sigma_phase, shape)), phase_energy_ev)
    electron_ratio, electron_ratio_sigma = ratio(electrons, absorbers)
    fitted = {
        **dict(zip(PARAMETERS, fit.parameters, strict=True)),
        "pre_edge_area": pre_edge_area(fit.parameters),
        "pre_edge_ratio": pre_edge_ratio(fit.parameters),
        "n_absorber": absorbers.value,
        "electron_ratio": electron_ratio,
        "residual": fit.residual,
    }
    fitted |= _standard_errors(fit, electron_ratio_sigma) | dict(further or {})
    mask = kept(status)
    found = {name: np.where(mask, values, np.nan).reshape(shape) for name, values in fitted.items()}
    found |= _errors_of_states(found, noise)
    found |= {"n_electron": electrons.value.reshape(shape), "n_electron_sigma": electrons.sigma.reshape(shape)}
    maps: dict[str, NDArray[Any]] = {name: values.astype(np.float32) for name, values in found.items()}
    return maps | {"status": np.reshape(status, shape).astype(np.int8), "mask": mask.reshape(shape)}


def _standard_errors(fit: SpectrumFit, electron_ratio_sigma: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """``<name>_sigma`` (n,) of every descriptor that comes from a fit."""
    sigma = {
        **dict(zip(PARAMETERS, fit.sigma, strict=True)),
        "pre_edge_area": fit.pre_edge_area_sigma,
        "pre_edge_ratio": fit.pre_edge_ratio_sigma,
        "electron_ratio": electron_ratio_sigma,
    }
    return {f"{name}_sigma": sigma[name] for name in get_args(Descriptor) if name in sigma}


def _errors_of_states(found: Mapping[str, NDArray[np.float64]], noise: NoiseCorrelation) -> dict[str, NDArray[np.float64]]:
    """``<name>_sigma`` of the `STATE_MAPS` among maps (Y, X), with what their pixels do not resolve."""
    errors = {}
    for name in STATE_MAPS & found.keys():
        variance = found[f"{name}_sigma"] ** 2
        errors[f"{name}_sigma"] = np.sqrt(variance + unresolved_variance(found[name], variance, noise))
    return errors
