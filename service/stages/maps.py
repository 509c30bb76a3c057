"""Maps of chemical state: the fits of all tiles, and the phase at one energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from service.stages.context import StageContext
from service.stages.fit import EDGE_ENERGIES
from service.workflow.step import Step, StepAttributes, StepRef
from storage.layout import RESULTS, ArraySpec
from tasks.options import ChemistryOptions

if TYPE_CHECKING:
    from service.stages.fit import FitStep
    from service.stages.spectra import SpectraStep
    from tasks.scattering import Absorber


@dataclass(frozen=True, kw_only=True)
class MapsStep(Step):
    """All maps of one dataset, as they are published; ``tiles`` are its fits, in the order of the rows."""

    stage: ClassVar[str] = "maps"
    version: ClassVar[int] = 4
    arrays: ClassVar[tuple[ArraySpec, ...]] = tuple(RESULTS["{dataset}/maps"].values())

    absorber: Absorber
    options: ChemistryOptions
    spectra: StepRef[SpectraStep]
    tiles: tuple[StepRef[FitStep], ...]

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.chemistry import chemistry_maps
        from tasks.xanes.fit import SpectrumFit
        from tasks.xanes.model_check import model_warnings
        from tasks.xanes.models import EXTRA

        read = context.read(self.spectra, "energy_ev", "phase", "sigma_phase", "sigma_absorption")
        pieces = [context.read(tile) for tile in self.tiles]
        whole = {name: np.concatenate([piece[name] for piece in pieces], axis=-1) for name in pieces[0]}
        energy_ev, wanted = read["energy_ev"], self.options.phase_energy_ev
        index = 0 if wanted == "lowest" else int(np.argmin(np.abs(energy_ev - wanted)))
        phase_energy_ev = float(energy_ev[index])
        extra = whole.pop("extra", None)
        further = {name: whole.pop(name) for name in EDGE_ENERGIES}
        if extra is not None:
            further |= {name: row for name, row in zip(EXTRA, extra, strict=True) if np.isfinite(row).any()}
        fit, sigma_vacuum = SpectrumFit(**whole), float(np.sqrt(np.mean(read["sigma_absorption"] ** 2)))
        found = chemistry_maps(
            fit, whole["status"], read["phase"][index], float(read["sigma_phase"][index]), phase_energy_ev, self.absorber,
            self.options, further,
        )  # fmt: skip
        warnings = model_warnings(fit, whole["status"], sigma_vacuum, self.absorber.edge_energy_ev) if extra is None else []
        n_kept = int(np.count_nonzero(found["mask"]))
        return context.write(found, warnings=warnings, phase_energy_ev=phase_energy_ev, n_kept=n_kept)
