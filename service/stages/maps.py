"""Maps of chemical state: the fits of all tiles, and the phase at one energy."""

from collections.abc import Mapping, Sequence

import numpy as np

from service.stages.context import StageContext, StepAttributes
from tasks.chemistry import chemistry_maps
from tasks.options import ChemistryOptions, FitOptions
from tasks.scattering import Absorber
from tasks.xanes.fit import SpectrumFit


def maps(
    desk: StageContext,
    *,
    absorber: Mapping[str, str],
    fit: FitOptions,
    options: ChemistryOptions,
    spectra: str,
    tiles: Sequence[str],
) -> StepAttributes:
    """All maps of one dataset; ``tiles`` are the keys of its fits, ``fit`` the options they were made with."""
    read = desk.read(spectra, "energy_ev", "phase", "sigma_phase", "sample_mask")
    pieces = [desk.read(key) for key in tiles]
    whole = {name: np.concatenate([piece[name] for piece in pieces], axis=-1) for name in pieces[0]}
    status = whole["status"]
    energy_ev = read["energy_ev"]
    wanted = options.phase_energy_ev
    index = 0 if wanted == "lowest" else int(np.argmin(np.abs(energy_ev - wanted)))
    found = chemistry_maps(
        SpectrumFit(**whole), status, read["phase"][index], float(read["sigma_phase"][index]),
        float(energy_ev[index]), Absorber(**absorber), options,
    )  # fmt: skip
    n_kept = int(np.count_nonzero(found["mask"]))
    return desk.write(found, phase_energy_ev=float(energy_ev[index]), n_kept=n_kept)
