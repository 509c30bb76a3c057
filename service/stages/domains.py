"""Domains: pixels of all datasets grouped together, and what each group has in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.workflow.step import Step, StepAttributes, StepRef
from storage.layout import COORDINATES, RESULTS, ArraySpec
from tasks.arrays import gather, scatter
from tasks.options.domains import DomainOptions

if TYPE_CHECKING:
    from service.stages.maps import MapsStep
    from service.stages.spectra import SpectraStep
    from tasks.domains.clustering import Domains
    from tasks.domains.components import Components
    from tasks.scattering import Absorber

ELBOW_TOLERANCE: Final = 1
"""The elbow tells the number of states of simulated specimens to within one: a difference of more is warned of."""
LEAST_PIXELS: Final = 2
"""Components of spectra are those of their differences."""


@dataclass(frozen=True, kw_only=True)
class DomainsStep(Step):
    """K-means over the maps, or the components of the spectra, of several datasets, pooled.

    Parameters
    ----------
    datasets, groups : tuple of str
        Id and group of each dataset.
    absorber : Absorber
        Of all datasets.
    options : DomainOptions
    left_out : tuple of str
        Descriptors that were asked for and that not all datasets have, for want of a phase.
    spectra, maps : tuple of StepRef
        In the order of the datasets.
    """

    stage: ClassVar[str] = "domains"
    version: ClassVar[int] = 6
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        *RESULTS["domains"].values(),
        COORDINATES["bin_centre"],
        *RESULTS["components"].values(),
        ArraySpec("label{dataset}", ("y", "x"), ("int8",), "1", "domain of each pixel of one dataset, 0 outside the specimen"),
        ArraySpec("score{dataset}", ("component", "y", "x"), ("float32",), "1", "scores of one dataset"),
        ArraySpec("factor_weight{dataset}", ("factor", "y", "x"), ("float32",), "1", "weights of the factors of one dataset"),
    )

    datasets: tuple[str, ...]
    groups: tuple[str, ...]
    absorber: Absorber
    options: DomainOptions
    left_out: tuple[str, ...] = ()
    spectra: tuple[StepRef[SpectraStep], ...]
    maps: tuple[StepRef[MapsStep], ...]

    def run(self, context: StageContext) -> StepAttributes:
        from tasks.domains.borders import settle_borders
        from tasks.domains.clustering import find_domains, relabelled
        from tasks.domains.profile import densities, mean_spectra
        from tasks.xanes.mask import require_kept

        options, names = self.options, self.options.descriptors
        read = [context.read(step) for step in self.maps]
        require_kept([maps["status"] for maps in read], max(options.n_domains, LEAST_PIXELS))
        masks = [maps["mask"] for maps in read]
        values = [gather(maps, names, mask) for maps, mask in zip(read, masks, strict=True)]
        sigmas = [gather(maps, [f"{name}_sigma" for name in names], mask) for maps, mask in zip(read, masks, strict=True)]
        weights = [maps["n_absorber"][mask] for maps, mask in zip(read, masks, strict=True)]
        order = [maps["edge_energy"][mask] for maps, mask in zip(read, masks, strict=True)]
        components, component_arrays = self._components(context, read, masks)
        points, errors = (components.scores, components.sigmas) if options.space == "components" else (values, sigmas)
        plain = find_domains(points, errors, weights, self.groups, options, order)
        settled = settle_borders(plain, points, masks) if options.borders == "settled" else plain.labels
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
        labels = {f"label{i}": scatter(one, mask, fill=0) for i, (one, mask) in enumerate(zip(found.labels, masks, strict=True))}
        intervals, agreement = self._stability(context, points, weights, plain, settled)
        return context.write(
            arrays | intervals | labels | component_arrays,
            warnings=self._warnings(found.elbow),
            elbow=found.elbow,
            groups=list(found.groups),
            datasets=list(self.datasets),
            **agreement,
            descriptors=list(names),
        )

    def _warnings(self, elbow: int) -> list[str]:
        found, k = [], self.options.n_domains
        if self.left_out:
            found.append(
                f"domains are found by {', '.join(self.options.descriptors)}: {', '.join(self.left_out)} needs the phase, which "
                "not all datasets have"
            )
        if abs(k - elbow) > ELBOW_TOLERANCE:
            result = "more domains than that divide a state by its noise" if k > elbow else "fewer domains than that join states"
            found.append(f"domains.n_domains is {k}, the elbow of the inertia lies at {elbow}: {result}")
        return found

    def _stability(
        self,
        context: StageContext,
        points: Sequence[NDArray[np.floating]],
        weights: Sequence[NDArray[np.floating]],
        plain: Domains,
        settled: Sequence[NDArray[np.int8]],
    ) -> tuple[dict[str, NDArray[Any]], StepAttributes]:
        """Intervals of the shares and agreement of the domains with their replicates; nothing where none were asked for."""
        from tasks.domains.stability import domain_stability

        options = self.options
        if not options.replicates:
            return {}, {}
        context.check_stop()
        found = domain_stability(
            points, weights, self.groups, plain, settled=settled, seed=options.seed, n_replicates=options.replicates
        )
        arrays = {name: getattr(found, name) for name in ("fraction_interval", "group_interval", "domain_agreement")}
        return arrays, {"agreement": found.agreement}

    def _components(
        self, context: StageContext, maps: Sequence[Mapping[str, NDArray[Any]]], masks: Sequence[NDArray[np.bool_]]
    ) -> tuple[Components, dict[str, NDArray[Any]]]:
        """Principal components of the spectra of all datasets, and what is stored of them and of the factors."""
        from tasks.domains.components import non_negative_factors, normalised_spectra, principal_components
        from tasks.xanes.fit import at_edge_wavelength

        spectra, sigmas, edge_ev = [], [], self.absorber.edge_energy_ev
        for step, own, mask in zip(self.spectra, maps, masks, strict=True):
            read = context.read(step, "energy_ev", "absorption", "sigma_absorption")
            offset, jump = (own[name][mask] for name in ("offset", "edge_jump"))
            spectra.append(normalised_spectra(read["energy_ev"], read["absorption"][:, mask], offset, jump, edge_ev))
            sigmas.append(at_edge_wavelength(read["energy_ev"], read["sigma_absorption"], edge_ev)[:, None] / jump)
        found = principal_components(spectra, sigmas, self.options.n_components)
        arrays: dict[str, NDArray[Any]] = {"mean_spectrum": found.mean, "eigenspectrum": found.spectra, "scree": found.scree}
        maps_of = {"score": found.scores}
        if self.options.n_factors:
            factors = non_negative_factors(spectra, self.options.n_factors, self.options.seed)
            arrays["factor_spectrum"], maps_of["factor_weight"] = factors.spectra, factors.weights
        for name, rows in maps_of.items():
            arrays |= {f"{name}{i}": scatter(one.astype(np.float32), masks[i]) for i, one in enumerate(rows)}
        return found, arrays
