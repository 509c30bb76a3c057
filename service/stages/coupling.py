"""Where all energies of one dataset meet: their objects brought to one grid and one gauge, and coupled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.stages.context import StageContext
from service.workflow.inputs import ScanInput
from tasks.coupling.correction import Correction
from tasks.coupling.spectra import Spectra, couple
from tasks.options import AlignOptions, KKROptions
from tasks.scattering import Absorber


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Who meets, and by which rules: the arguments of a unit of ``couple`` or ``spectra``; ``states`` are keys, one an energy."""

    scans: Sequence[ScanInput]
    absorber: Mapping[str, str]
    formula: str
    align: AlignOptions
    kkr: KKROptions
    states: Sequence[str]

    def hold(self, desk: StageContext) -> tuple[Spectra, list[Correction]]:
        """Coupled spectra, and what each energy takes back from all of them."""
        read = [desk.read(key, "object", "dose") for key in self.states]
        desk.check_stop()
        return couple(
            [one["object"] for one in read], [one["dose"] for one in read], [scan.canvas for scan in self.scans],
            np.array([scan.energy_ev for scan in self.scans]) + self.align.energy_offset_ev,
            Absorber(**self.absorber), self.formula, self.align, self.kkr,
        )  # fmt: skip


def kk_facts(found: Spectra) -> dict[str, float]:
    """How well the Kramers-Kronig relation holds, over all energies."""
    return {
        "kk_residual_before": float(np.mean(found.kk_residual_before)),
        "kk_residual": float(np.mean(found.kk_residual)),
        "kk_slope": float(found.kk_slope),
    }
