"""Pixels of all datasets grouped together, and what each group has in common."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from service.stages.context import StageContext, StepAttributes
from service.stages.pixels import pick, spread
from tasks.domains.borders import settle_borders
from tasks.domains.clustering import find_domains, relabelled
from tasks.domains.profile import densities, mean_spectra
from tasks.domains.stability import domain_stability
from tasks.options import DomainOptions

Array = NDArray[Any]


def domains(
    desk: StageContext,
    *,
    datasets: Sequence[str],
    groups: Sequence[str],
    options: DomainOptions,
    spectra: Sequence[str],
    maps: Sequence[str],
) -> StepAttributes:
    """Pixels of all datasets grouped together, and what each group has in common."""
    read = [desk.read(key) for key in maps]
    kept = [one["mask"] for one in read]
    values = [pick(one, options.descriptors, mask) for one, mask in zip(read, kept, strict=True)]
    sigmas = [pick(one, [f"{name}_sigma" for name in options.descriptors], mask) for one, mask in zip(read, kept, strict=True)]
    weights = [one["n_absorber"][mask] for one, mask in zip(read, kept, strict=True)]
    order = [one["edge_energy"][mask] for one, mask in zip(read, kept, strict=True)]
    plain = find_domains(values, sigmas, weights, groups, options, order)
    settled = settle_borders(plain, values, kept) if options.borders == "settled" else plain.labels
    found = relabelled(plain, settled, values, weights, groups)
    absorption = [desk.read(key, "absorption")["absorption"][:, mask] for key, mask in zip(spectra, kept, strict=True)]
    density = densities(found.labels, values, options.n_domains)
    arrays: dict[str, Array] = {
        "centre": found.centres,
        "inertia": found.inertia,
        "fraction": found.fraction,
        "group_fraction": found.group_fraction,
        "mean_absorption": mean_spectra(found.labels, absorption, options.n_domains),
        "density": density.share,
        "bin_centre": density.bin_centre,
    }
    facts = {"elbow": found.elbow, "groups": list(found.groups), "datasets": list(datasets)}
    if options.replicates:
        desk.check_stop()
        stability = domain_stability(
            values, weights, groups, plain, settled=settled, seed=options.seed, n_replicates=options.replicates
        )
        names = ("fraction_interval", "group_interval", "domain_agreement")
        arrays |= {name: getattr(stability, name) for name in names}
        facts["agreement"] = stability.agreement
    for i, (label, mask) in enumerate(zip(found.labels, kept, strict=True)):
        arrays[f"label{i}"] = spread(label, mask.ravel(), fill=0).reshape(mask.shape)
    return desk.write(arrays, **facts)
