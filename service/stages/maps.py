"""Maps of chemical state: the fits of all tiles, and the phase at one energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.stages.fit import EDGE_ENERGIES
from service.workflow.step import Step, StepAttributes, StepRef
from storage.layout import RESULTS, ArraySpec
from tasks.options.spectra import ChemistryOptions

if TYPE_CHECKING:
    from service.stages.fit import FitStep
    from service.stages.spectra import SpectraStep
    from tasks.scattering import Absorber
    from tasks.xanes.fit import SpectrumFit

NO_PHASE: Final = "the images are absorption alone: electron densities and ratios, which need the phase, are left out"
PHASE_MAPS: Final = ("n_electron", "n_electron_sigma", "electron_ratio", "electron_ratio_sigma")


@dataclass(frozen=True, kw_only=True)
class MapsStep(Step):
    """All maps of one dataset, as they are published; ``tiles`` are its fits, in the order of the rows.

    ``has_phase`` is False of absorption alone, which gives no maps of electrons.
    """

    stage: ClassVar[str] = "maps"
    version: ClassVar[int] = 10
    arrays: ClassVar[tuple[ArraySpec, ...]] = tuple(RESULTS["{dataset}/maps"].values())

    absorber: Absorber
    options: ChemistryOptions
    has_phase: bool = True
    spectra: StepRef[SpectraStep]
    tiles: tuple[StepRef[FitStep], ...]

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.chemistry import chemistry_maps
        from tasks.xanes.mask import kept
        from tasks.xanes.model_check import model_warnings
        from tasks.xanes.uncertainty.neighbours import noise_correlation

        read = context.read(self.spectra, "energy_ev", "absorption", "sigma_absorption")
        energy_ev = read["energy_ev"]
        fit, further, has_extra = self._read_fits(context)
        wanted = self.options.phase_energy_ev
        index = 0 if wanted == "lowest" else int(np.argmin(np.abs(energy_ev - wanted)))
        phase_energy_ev = float(energy_ev[index])
        sigma_vacuum = float(np.sqrt(np.mean(read["sigma_absorption"] ** 2)))
        phase, sigma_phase = self._phase(context, index)
        noise = noise_correlation(read["absorption"], kept(fit.status).reshape(phase.shape))
        found = chemistry_maps(
            fit, fit.status, phase, sigma_phase, phase_energy_ev, self.absorber, self.options, further, noise,
        )  # fmt: skip
        if not self.has_phase:
            found = {name: values for name, values in found.items() if name not in PHASE_MAPS}
        warnings = [] if has_extra else model_warnings(fit, fit.status, sigma_vacuum, self.absorber.edge_energy_ev)
        return context.write(
            found,
            warnings=warnings if self.has_phase else [*warnings, NO_PHASE],
            phase_energy_ev=phase_energy_ev if self.has_phase else None,
            **noise.attributes,
            n_kept=int(np.count_nonzero(found["mask"])),
        )

    def _read_fits(self, context: StageContext) -> tuple[SpectrumFit, dict[str, NDArray[Any]], bool]:
        """The fits of all tiles as one, the maps beside its parameters, and whether its model has more parameters than eq. 1."""
        from tasks.xanes.fit import SpectrumFit
        from tasks.xanes.models import EXTRA

        pieces = [context.read(tile) for tile in self.tiles]
        whole = {name: np.concatenate([piece[name] for piece in pieces], axis=-1) for name in pieces[0]}
        extra = whole.pop("extra", None)
        further = {name: whole.pop(name) for name in EDGE_ENERGIES}
        if extra is not None:
            further |= {name: row for name, row in zip(EXTRA, extra, strict=True) if np.isfinite(row).any()}
        return SpectrumFit(**whole), further, extra is not None

    def _phase(self, context: StageContext, index: int) -> tuple[NDArray[Any], float]:
        """Phase (Y, X) [rad] of the energy at ``index`` and its standard error; NaN of absorption alone."""
        if not self.has_phase:
            return np.full(context.read(self.spectra, "sample_mask")["sample_mask"].shape, np.nan), np.nan
        read = context.read(self.spectra, "phase", "sigma_phase")
        return read["phase"][index], float(read["sigma_phase"][index])
