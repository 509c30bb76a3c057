"""What a run found, as plain arrays: all that the figures need to know.

A study is filled as far as the run got. With nothing but ``absorption`` and ``phase`` of one energy there are images;
each further field adds its figures. All arrays of one specimen lie on its one grid (Y, X).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import EnergyGridError, NoModelError
from tasks.xanes.uncertainty.neighbours import INDEPENDENT, NoiseCorrelation

if TYPE_CHECKING:
    from tasks.areas import AreaFit, AreaModel


@dataclass(frozen=True)
class ReconstructionQuality:
    """How well the energies of one specimen were reconstructed; energies in the order of ``Specimen.energy_ev``."""

    error: NDArray[np.float32]
    """(E, C) R-factor of each cycle; NaN for a cycle that was not run. C = 0 of images, which came reconstructed."""
    noise_error: NDArray[np.float32] | None = None
    """(E,) R-factor that photon noise alone would leave."""
    probe: NDArray[np.complex64] | None = None
    """(E, M, N, N) probe modes, strongest first."""
    probe_pixel_size_m: NDArray[np.float64] | None = None
    """(E,) pixel of the probe [m]."""
    frame_px: NDArray[np.integer[Any]] | None = None
    """(E, C) side of the middle of the frames that each cycle saw [px]; 0 for a cycle that was not run."""
    frequency_per_m: NDArray[np.float64] | None = None
    """(F,) or (E, F) spatial frequency [1/m] of ``prtf`` and ``frc``."""
    prtf: NDArray[np.float32] | None = None
    """(E, F) phase-retrieval transfer function."""
    frc: NDArray[np.float32] | None = None
    """(E, F) Fourier ring correlation with the neighbouring energy."""
    half_bit: NDArray[np.float32] | None = None
    """(F,) or (E, F) half-bit threshold of ``frc``."""
    resolution_m: NDArray[np.float64] | None = None
    """(E,) full period [m] at which ``frc`` meets half a bit; NaN where it could not be told."""
    prtf_resolution_m: NDArray[np.float64] | None = None
    """(E,) full period [m] at which ``prtf`` falls to 1/e; NaN where it does not."""


@dataclass(frozen=True)
class KramersKronig:
    """How well absorption and phase agreed before they were made to; (E,) arrays [electrons per absorber atom]."""

    residual: NDArray[Any]
    """Rms over the specimen of what the relation leaves unexplained."""
    measured: NDArray[Any]
    """Mean over the specimen of the phase's f', its smooth part taken out."""
    predicted: NDArray[Any]
    """The same from the absorption."""
    slope: float | None = None
    """Of measured on predicted, over all pixels; 1 where absorption and phase agree."""


@dataclass(frozen=True)
class Disc:
    """A disc of pixels whose mean spectrum is drawn."""

    name: str
    y: int
    """Row of the centre."""
    x: int
    """Column of the centre."""
    radius_px: float
    """Pixels whose centre is at most this far away belong to it."""


@dataclass(frozen=True)
class Specimen:
    """One dataset: its images, and its maps where there were energies enough to fit.

    Parameters
    ----------
    name : str
        Dataset id: the end of the figure's file name.
    title : str
        What the figures call it.
    energy_ev : (E,) float64 array [eV], ascending
    pixel_size_m : float [m]
    absorption, phase : (E, Y, X) float32 arrays [1], [rad]; the phase is None where there is absorption alone
    sample_mask : (Y, X) bool array, optional
        True on the specimen; images are framed around it. The whole field where not given.
    maps : mapping of (Y, X) arrays
        By the names of the results store (``edge_energy``, ``n_absorber``, ..., ``mask`` True where kept).
    label : (Y, X) integer array, optional
        Domain of each pixel, 1..k, 0 outside.
    group : str
        Group of specimens it belongs to.
    standard : bool
        A reference compound: mapped like the rest, but no part of the domains.
    reconstruction : ReconstructionQuality, optional
    kramers_kronig : KramersKronig, optional
    sigma_absorption, sigma_phase : (E,) arrays, optional
        Standard deviation of one pixel of ``absorption`` [1] and ``phase`` [rad].
    noise : NoiseCorrelation
        How that of neighbouring pixels is correlated.
    mixture : (R, Y, X) array, optional
        Share of each of the study's references in every pixel; NaN where masked.
    areas : tuple of Disc
        Where spectra are taken; chosen from the map of edge energies where empty.
    """

    name: str
    title: str
    energy_ev: NDArray[np.float64]
    pixel_size_m: float
    absorption: NDArray[np.float32]
    phase: NDArray[np.float32] | None
    sample_mask: NDArray[np.bool_] | None = None
    maps: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    label: NDArray[np.integer] | None = None
    group: str = ""
    standard: bool = False
    reconstruction: ReconstructionQuality | None = None
    kramers_kronig: KramersKronig | None = None
    sigma_absorption: NDArray[Any] | None = None
    sigma_phase: NDArray[Any] | None = None
    noise: NoiseCorrelation = INDEPENDENT
    mixture: NDArray[Any] | None = None
    areas: tuple[Disc, ...] = ()

    def kept(self) -> NDArray[np.bool_]:
        """(Y, X) pixels whose maps mean something: ``maps["mask"]``, else the specimen, else all."""
        if "mask" in self.maps:
            return np.asarray(self.maps["mask"], dtype=bool)
        if self.sample_mask is not None:
            return self.sample_mask
        return np.ones(self.absorption.shape[1:], dtype=bool)

    @property
    def image_names(self) -> tuple[str, ...]:
        """``absorption``, and ``phase`` where there is one."""
        return ("absorption",) if self.phase is None else ("absorption", "phase")

    def image(self, name: str) -> NDArray[np.float32]:
        """(E, Y, X) absorption or phase, one of `image_names`."""
        found = {"absorption": self.absorption, "phase": self.phase}[name]
        assert found is not None
        return found

    def values(self, name: str) -> NDArray[np.float64]:
        """(Y, X) map ``name``, NaN where it is not kept."""
        return np.where(self.kept(), np.asarray(self.maps[name], dtype=np.float64), np.nan)


@dataclass(frozen=True)
class PooledDomains:
    """The domains of all specimens together; k domains in ascending order of edge energy, numbered from 1."""

    inertia: NDArray[np.float64]
    """(K,) sum of squared distances for k = 1..K domains."""
    elbow: int
    """k at the elbow of ``inertia``."""
    fraction: NDArray[np.float64]
    """(S, k) share of each domain, weighted by ``n_absorber``, in each specimen that is no standard."""
    group_fraction: NDArray[np.float64] | None = None
    """(G, k) the same over each group, groups in the order in which the specimens name them."""
    group_interval: NDArray[np.float64] | None = None
    """(2, G, k) lower and upper end of the interval of ``group_fraction``."""
    energy_ev: NDArray[np.float64] | None = None
    """(E,) energies [eV] of ``mean_absorption``."""
    mean_absorption: NDArray[np.float64] | None = None
    """(k, E) mean absorption spectrum of each domain."""
    fraction_interval: NDArray[np.float64] | None = None
    """(2, S, k) lower and upper end of the interval of ``fraction``."""
    domain_agreement: NDArray[np.float64] | None = None
    """(k,) Jaccard index of each domain with its like in a bootstrap replicate, mean."""
    agreement: float | None = None
    """Adjusted Rand index of the domains with those of a bootstrap replicate, mean."""


@dataclass(frozen=True)
class ReferenceSpectrum:
    """Spectrum of a known compound, normalised to 0 before the edge and a jump of 1."""

    name: str
    energy_ev: NDArray[np.float64]
    """(R,) [eV]"""
    absorption: NDArray[np.float64]
    """(R,) [1]"""
    parameters: NDArray[np.float64] | None = None
    """(10,) eq. 1 fitted to it."""


@dataclass(frozen=True)
class Study:
    """The specimens of one run and what they have in common.

    Parameters
    ----------
    specimens : tuple of Specimen
    absorber : str
        Symbol of the absorbing element, for the labels.
    descriptors : tuple of str
        Maps that span the domains' space.
    domains : PooledDomains, optional
    references : tuple of ReferenceSpectrum
    theory : mapping of float
        Theoretical electron ratio by formula, drawn as lines in its histogram.
    model : AreaModel, optional
        What is fitted to spectra; without it no curves are.
    """

    specimens: tuple[Specimen, ...]
    absorber: str = "V"
    descriptors: tuple[str, ...] = ("edge_energy", "pre_edge_ratio", "electron_ratio")
    domains: PooledDomains | None = None
    references: tuple[ReferenceSpectrum, ...] = ()
    theory: Mapping[str, float] = field(default_factory=dict)
    model: AreaModel | None = None

    def fitted(self, energy_ev: NDArray[Any], absorption: NDArray[Any], sigma: NDArray[Any]) -> AreaFit | None:
        """The model fitted to a spectrum (E,); None where its energies cannot determine it, or there is no model."""
        from tasks.areas import fit_mean  # loads the compiled solver, which the graph of a run does without

        if self.model is None or not np.isfinite(absorption).all():
            return None
        try:
            return fit_mean(energy_ev, absorption, sigma, self.model)
        except (EnergyGridError, NoModelError):
            return None

    def groups(self) -> tuple[str, ...]:
        """Names of the groups, in the order in which the specimens first name them, standards left out."""
        return tuple(dict.fromkeys(specimen.group for specimen in self.specimens if not specimen.standard))
