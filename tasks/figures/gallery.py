"""Every figure a study suffices for, in the order in which a reader wants them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from matplotlib.figure import Figure

from tasks.figures import areas, domains, images, maps, reconstruction, status
from tasks.figures.study import PooledDomains, Specimen, Study
from tasks.figures.style import draw_dark_png, draw_png, draw_vector


@dataclass(frozen=True)
class Drawing:
    """One figure, which is drawn when it is asked for, so that one that fails costs no other.

    Attributes
    ----------
    title, caption : str
    build : callable
        The figure.
    dataset : str, optional
        Name of the specimen that it shows; None for a figure of the whole study.
    shows_domains : bool
        Whether it needs the pixels to be grouped.
    """

    title: str
    caption: str
    build: Callable[[], Figure]
    dataset: str | None = None
    shows_domains: bool = False

    def draw(self) -> bytes:
        """The PNG file's bytes."""
        return draw_png(self.title, self.build)

    def draw_dark(self) -> bytes:
        """The bytes of the PNG file for a dark page."""
        return draw_dark_png(self.title, self.build)

    def draw_vector(self, file_format: Literal["pdf", "svg"]) -> bytes:
        """The bytes of the PDF or SVG file."""
        return draw_vector(file_format, self.title, self.build)


def figure_list(study: Study) -> dict[str, Drawing]:
    """Every figure there are arrays for; nothing is drawn yet.

    Returns
    -------
    dict of Drawing
        By name, fit for a file name: ``state-maps``, ``images-<dataset>``. First the figures of the whole study,
        then each specimen's.
    """
    figures = dict(_of_the_study(study))
    for specimen in study.specimens:
        figures |= dict(_of_a_specimen(study, specimen))
    return figures


def drawing(title: str, caption: str, build: Callable[..., Figure], *args: object, dataset: str | None = None) -> Drawing:
    """The figure that ``build(*args)`` returns."""
    return Drawing(title, caption, partial(build, *args), dataset)


def _of_the_study(study: Study) -> Iterator[tuple[str, Drawing]]:
    names = study.descriptors
    if maps.mapped_specimens(study, names):
        yield (
            "state-maps",
            drawing(
                "Chemical state",
                "Maps of the descriptors, on one scale for all specimens; masked pixels are white.",
                maps.state_maps,
                study,
                names,
            ),
        )
        yield (
            "histograms",
            drawing(
                "Histograms",
                "Distribution of each descriptor over the pixels; dashed: median; lines: theory.",
                maps.histograms,
                study,
                names,
            ),
        )
    errors = [f"{name}_sigma" for name in names if maps.mapped_specimens(study, [f"{name}_sigma"])]
    if errors and maps.mapped_specimens(study, errors):
        yield (
            "error-maps",
            drawing(
                "Standard errors",
                "Standard error of each descriptor, on one scale for all specimens.",
                maps.state_maps,
                study,
                errors,
            ),
        )
    if status.specimens_with_status(study):
        yield (
            "status-maps",
            drawing(
                "Status of the fits",
                "What became of every pixel's fit; outside the specimen is white.",
                status.status_maps,
                study,
            ),
        )
    if any(specimen.mixture is not None for specimen in study.specimens):
        yield (
            "mixture-maps",
            drawing(
                "Mixtures of references",
                "Share of each reference compound in every pixel's spectrum; masked pixels are white.",
                maps.mixture_maps,
                study,
            ),
        )
    if study.domains is not None and domains.grouped_specimens(study):
        for name, figure in _of_the_domains(study, study.domains):
            yield name, replace(figure, shows_domains=True)


def _of_the_domains(study: Study, pooled: PooledDomains) -> Iterator[tuple[str, Drawing]]:
    k = pooled.fraction.shape[1]
    yield (
        "domain-maps",
        drawing("Domains", "Domain of each pixel, in ascending order of edge energy.", domains.domain_maps, study, k),
    )
    yield (
        "domain-fractions",
        drawing(
            "Shares of the domains",
            f"Share of each domain, weighted by the amount of {study.absorber}.",
            domains.fractions,
            study,
            pooled,
        ),
    )
    yield (
        "domain-densities",
        drawing(
            "Domains by descriptor",
            "Density of each descriptor in each domain, every curve of unit area.",
            domains.densities,
            study,
            k,
        ),
    )
    if pooled.mean_absorption is not None and pooled.energy_ev is not None:
        yield (
            "domain-spectra",
            drawing(
                "Spectra of the domains",
                "Mean absorption of each domain with eq. 1 fitted to it, and the same normalised to its edge jump.",
                domains.mean_spectra,
                study,
                pooled,
            ),
        )
    yield (
        "domain-scatter",
        drawing(
            "Domains in descriptor space",
            "Every pair of descriptors; densities on the diagonal.",
            domains.scatter_matrix,
            study,
            k,
        ),
    )
    yield (
        "elbow",
        drawing("Number of domains", "Inertia against k; the elbow lies farthest below the chord.", domains.elbow, pooled),
    )


def _of_a_specimen(study: Study, specimen: Specimen) -> Iterator[tuple[str, Drawing]]:
    name = specimen.name
    yield (
        f"images-{name}",
        drawing(
            "Absorption and phase",
            "Absorption at the highest and phase at the lowest energy.",
            images.complex_images,
            study,
            specimen,
            dataset=name,
        ),
    )
    if specimen.energy_ev.size > 1 and areas.choose_areas(specimen):
        yield (
            f"area-spectra-{name}",
            drawing(
                "Spectra of areas",
                "Mean absorption, with eq. 1 fitted to it, and phase of the marked areas, with standard errors.",
                areas.area_spectra,
                study,
                specimen,
                dataset=name,
            ),
        )
        if study.references and {"offset", "edge_jump"} <= specimen.maps.keys():
            yield (
                f"references-{name}",
                drawing(
                    "Areas and reference compounds",
                    "Normalised absorption of the areas; reference compounds dashed.",
                    areas.reference_spectra,
                    study,
                    specimen,
                    dataset=name,
                ),
            )
    yield from _of_a_reconstruction(specimen)


def _of_a_reconstruction(specimen: Specimen) -> Iterator[tuple[str, Drawing]]:
    name, found = specimen.name, specimen.reconstruction
    if found is not None and found.frequency_per_m is not None and (found.prtf is not None or found.frc is not None):
        yield (
            f"resolution-{name}",
            drawing(
                "Resolution",
                "Phase-retrieval transfer function and Fourier ring correlation of every energy.",
                reconstruction.resolution,
                specimen,
                found,
                dataset=name,
            ),
        )
    if specimen.kramers_kronig is not None and specimen.energy_ev.size > 1:
        yield (
            f"kramers-kronig-{name}",
            drawing(
                "Kramers-Kronig relation",
                "Phase predicted from the absorption beside the measured one, and the residual, before the constraint.",
                reconstruction.kramers_kronig,
                specimen,
                specimen.kramers_kronig,
                dataset=name,
            ),
        )
    if found is not None and found.probe is not None and found.probe_pixel_size_m is not None:
        yield (
            f"probe-{name}",
            drawing(
                "Probe",
                "Amplitude and phase of the strongest probe mode at both ends of the energy range.",
                reconstruction.probe,
                specimen,
                found,
                dataset=name,
            ),
        )
    if found is not None and found.error.size:
        yield (
            f"convergence-{name}",
            drawing(
                "Convergence",
                "R-factor of every energy against the cycle.",
                reconstruction.convergence,
                specimen,
                found,
                dataset=name,
            ),
        )
