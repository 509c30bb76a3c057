"""The last time all energies meet: one grid, one gauge, absorption and phase that belong together."""

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext, StepAttributes
from service.stages.convergence import padded
from service.stages.coupling import Meeting, kk_facts
from service.stages.resolution import spectrum_sharpness
from tasks.coupling.outliers import coupling_warnings
from tasks.coupling.spectra import Spectra


def spectra(desk: StageContext, **who: Any) -> StepAttributes:
    """Spectra of one dataset, how sharp they are, and which energies stand out."""
    meeting = Meeting(**who)
    found, corrections = meeting.hold(desk)
    probes = [desk.read(key, "probe")["probe"] for key in meeting.states]
    arrays: dict[str, NDArray[Any]] = {
        field.name: np.asarray(getattr(found, field.name)) for field in fields(Spectra) if field.name != "kk_slope"
    }
    arrays["probe"] = padded([c.gauge.onto_probe(probe) for c, probe in zip(corrections, probes, strict=True)], 0)
    arrays |= spectrum_sharpness(desk, meeting.scans, meeting.states, found, corrections)
    r_factor = np.array([desk.read(key, "errors")["errors"][-1] for key in meeting.states])
    noise = np.array([desk.units.attrs(key)["noise_error"] for key in meeting.states], float)
    remarks = coupling_warnings(found.energy_ev, r_factor, noise, found.kk_residual, found.shift_px)
    return desk.write(arrays, **kk_facts(found), notes=remarks)
