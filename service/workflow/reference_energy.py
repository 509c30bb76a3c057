"""Which energy of a dataset the others start from."""

from collections.abc import Sequence
from typing import Final

from service.workflow.inputs import RunInput, ScanInput
from tasks.options.reconstruct import ReconstructOptions
from tasks.scattering import Absorber

MIN_WARM_CYCLES: Final = 16
"""With fewer cycles, the eight of the quick image that a start from a reference needs do not pay."""
NAMED_ENERGY_EV: Final = 1e-3
"""An energy so near to the one named is taken for it before all energies are known."""


def reference_scan(dataset: RunInput, kept: Sequence[ScanInput], options: ReconstructOptions) -> ScanInput | None:
    """The scan whose reconstruction the other energies start from; None where all start from the optics.

    It is chosen among all that were measured, so that another does not take its place, and all are not reconstructed again, when
    some energy is left out. Where it is not ``kept`` itself, the nearest that is takes its place.
    """
    chosen = preferred_reference(dataset, options)
    if chosen is None or chosen in kept:
        return chosen
    return None if dataset.is_open or not kept else min(kept, key=lambda scan: abs(scan.energy_ev - chosen.energy_ev))


def preferred_reference(dataset: RunInput, options: ReconstructOptions) -> ScanInput | None:
    """The reference if all energies are used; None where all start from the optics.

    While scans may still arrive, only one at the very energy that was named is known to be the reference. Until then every
    energy starts from the optics, and all but the reference are reconstructed again once it is known, so that the results
    do not depend on the order in which energies arrive.
    """
    if options.start_from != "reference" or options.max_cycles < MIN_WARM_CYCLES or not dataset.scans:
        return None
    named = options.reference_energy_ev
    if named != "post-edge":
        nearest = min(dataset.scans, key=lambda scan: abs(scan.energy_ev - named))
        return None if dataset.is_open and abs(nearest.energy_ev - named) > NAMED_ENERGY_EV else nearest
    if dataset.is_open:
        return None
    edge_ev = Absorber(**dataset.absorber).edge_energy_ev
    above = [scan for scan in dataset.scans if scan.energy_ev > edge_ev] or dataset.scans
    return above[len(above) // 2]
