"""Every kept pixel of one dataset explained as a mixture of the reference compounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from service.stages.context import StageContext
from service.workflow.step import Step, StepAttributes, StepRef
from storage.layout import ArraySpec
from tasks.arrays import scatter
from tasks.options.spectra import ReferenceOptions

if TYPE_CHECKING:
    from service.stages.maps import MapsStep
    from service.stages.spectra import SpectraStep
    from tasks.scattering import Absorber

F64 = ("float64",)


@dataclass(frozen=True, kw_only=True)
class ReferencesStep(Step):
    """Shares of the compounds, their errors and what no mixture explains, over the map."""

    stage: ClassVar[str] = "references"
    version: ClassVar[int] = 2
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("fraction", ("reference", "y", "x"), F64, "1", "share of the reference in the pixel's spectrum"),
        ArraySpec("fraction_sigma", ("reference", "y", "x"), F64, "1", "standard error of the share"),
        ArraySpec("residual", ("y", "x"), F64, "1", "standard deviation of one data point about the mixture"),
    )

    absorber: Absorber
    options: ReferenceOptions
    spectra: StepRef[SpectraStep]
    maps: StepRef[MapsStep]

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.xanes.fit import at_edge_wavelength
        from tasks.xanes.references.mixture import linear_combination
        from tasks.xanes.references.normalisation import prepare

        read = context.read(self.spectra, "energy_ev", "absorption")
        mask = context.read(self.maps, "mask")["mask"]
        edge_ev = self.absorber.edge_energy_ev
        compounds = prepare(self.options.xdi, self.absorber)
        pixels = at_edge_wavelength(read["energy_ev"], read["absorption"][:, mask], edge_ev)
        found = linear_combination(read["energy_ev"], pixels, compounds)
        arrays = {name: scatter(getattr(found, name), mask) for name in ("fraction", "fraction_sigma", "residual")}
        return context.write(arrays, references=[compound.name for compound in compounds])
