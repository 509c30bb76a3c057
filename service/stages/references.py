"""Every kept pixel of one dataset explained as a mixture of the reference compounds."""

from collections.abc import Mapping

from service.stages.context import StageContext, StepAttributes
from service.stages.pixels import spread
from tasks.options import ReferenceOptions
from tasks.scattering import Absorber
from tasks.xanes.fit import at_edge_wavelength
from tasks.xanes.references import linear_combination, prepare


def references(
    desk: StageContext, *, absorber: Mapping[str, str], options: ReferenceOptions, spectra: str, maps: str
) -> StepAttributes:
    """Shares of the compounds, their errors and what no mixture explains, in their places on the map."""
    read = desk.read(spectra, "energy_ev", "absorption")
    mask = desk.read(maps, "mask")["mask"]
    edge_ev = Absorber(**absorber).edge_energy_ev
    compounds = prepare(options.xdi, edge_ev)
    pixels = at_edge_wavelength(read["energy_ev"], read["absorption"][:, mask], edge_ev)
    found = linear_combination(read["energy_ev"], pixels, compounds)
    arrays = {
        name: spread(getattr(found, name), mask.ravel()).reshape(*getattr(found, name).shape[:-1], *mask.shape)
        for name in ("fraction", "fraction_sigma", "residual")
    }
    return desk.write(arrays, references=[compound.name for compound in compounds])
