"""Domains: pixels of all datasets grouped together, and what each group has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from numpy.typing import NDArray

from service.stages.context import StageContext
from service.workflow.step import Step, StepAttributes, StepRef
from storage.layout import COORDINATES, RESULTS, ArraySpec
from tasks.arrays import gather, scatter
from tasks.options import DomainOptions

if TYPE_CHECKING:
    from service.stages.maps import MapsStep
    from service.stages.spectra import SpectraStep


@dataclass(frozen=True, kw_only=True)
class DomainsStep(Step):
    """K-means over the maps of several datasets, pooled.

    Parameters
    ----------
    datasets, groups : tuple of str
        Id and group of each dataset.
    options : DomainOptions
    left_out : tuple of str
        Descriptors that were asked for and that not all datasets have, for want of a phase.
    spectra, maps : tuple of StepRef
        In the order of the datasets.
    """

    stage: ClassVar[str] = "domains"
    version: ClassVar[int] = 4
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        *RESULTS["domains"].values(),
        COORDINATES["bin_centre"],
        ArraySpec("label{dataset}", ("y", "x"), ("int8",), "1", "domain of each pixel of one dataset, 0 outside the specimen"),
    )

    datasets: tuple[str, ...]
    groups: tuple[str, ...]
    options: DomainOptions
    left_out: tuple[str, ...] = ()
    spectra: tuple[StepRef[SpectraStep], ...]
    maps: tuple[StepRef[MapsStep], ...]

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.domains.borders import settle_borders
        from tasks.domains.clustering import find_domains, relabelled
        from tasks.domains.profile import densities, mean_spectra
        from tasks.domains.stability import domain_stability

        options, names = self.options, self.options.descriptors
        read = [context.read(step) for step in self.maps]
        masks = [maps["mask"] for maps in read]
        values = [gather(maps, names, mask) for maps, mask in zip(read, masks, strict=True)]
        sigmas = [gather(maps, [f"{name}_sigma" for name in names], mask) for maps, mask in zip(read, masks, strict=True)]
        weights = [maps["n_absorber"][mask] for maps, mask in zip(read, masks, strict=True)]
        order = [maps["edge_energy"][mask] for maps, mask in zip(read, masks, strict=True)]
        plain = find_domains(values, sigmas, weights, self.groups, options, order)
        settled = settle_borders(plain, values, masks) if options.borders == "settled" else plain.labels
        found = relabelled(plain, settled, values, weights, self.groups)
        absorption = [
            context.read(step, "absorption")["absorption"][:, mask] for step, mask in zip(self.spectra, masks, strict=True)
        ]
        density = densities(found.labels, values, options.n_domains)
        arrays: dict[str, NDArray[Any]] = {
            "centre": found.centres,
            "inertia": found.inertia,
            "fraction": found.fraction,
            "group_fraction": found.group_fraction,
            "mean_absorption": mean_spectra(found.labels, absorption, options.n_domains),
            "density": density.share,
            "bin_centre": density.bin_centre,
        }
        attributes: StepAttributes = {"elbow": found.elbow, "groups": list(found.groups), "datasets": list(self.datasets)}
        if options.replicates:
            context.check_stop()
            stability = domain_stability(
                values, weights, self.groups, plain, settled=settled, seed=options.seed, n_replicates=options.replicates
            )
            arrays |= {name: getattr(stability, name) for name in ("fraction_interval", "group_interval", "domain_agreement")}
            attributes["agreement"] = stability.agreement
        for i, (label, mask) in enumerate(zip(found.labels, masks, strict=True)):
            arrays[f"label{i}"] = scatter(label, mask, fill=0)
        return context.write(arrays, warnings=self._warnings(), **attributes, descriptors=list(names))

    def _warnings(self) -> list[str]:
        if not self.left_out:
            return []
        return [
            f"domains are found by {', '.join(self.options.descriptors)}: {', '.join(self.left_out)} needs the phase, which not "
            "all datasets have"
        ]
