"""Every figure a study suffices for, in the order in which a reader wants them."""

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.figures import areas, domains, images, maps, reconstruction, status
from tasks.figures.study import PooledDomains, Specimen, Study
from tasks.figures.style import draw_png


@dataclass(frozen=True)
class Drawing:
    """One finished figure."""

    title: str
    caption: str
    png: bytes
    dataset: str | None = None
    """Name of the specimen it shows; None for a figure of the whole study."""


def figure_list(study: Study) -> dict[str, Drawing]:
    """Draw every figure there are arrays for.

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


def _of_the_study(study: Study) -> Iterator[tuple[str, Drawing]]:
    names = study.descriptors
    if maps.mapped_specimens(study, names):
        yield (
            "state-maps",
            Drawing(
                "Chemical state",
                "Maps of the descriptors, on one scale for all specimens; masked pixels are white.",
                draw_png("Chemical state", maps.state_maps, study, names),
            ),
        )
        yield (
            "histograms",
            Drawing(
                "Histograms",
                "Distribution of each descriptor over the pixels; dashed: median; lines: theory.",
                draw_png("Histograms", maps.histograms, study, names),
            ),
        )
    errors = [f"{name}_sigma" for name in names if maps.mapped_specimens(study, [f"{name}_sigma"])]
    if errors and maps.mapped_specimens(study, errors):
        yield (
            "error-maps",
            Drawing(
                "Standard errors",
                "Standard error of each descriptor, on one scale for all specimens.",
                draw_png("Standard errors", maps.state_maps, study, errors),
            ),
        )
    if status.specimens_with_status(study):
        yield (
            "status-maps",
            Drawing(
                "Status of the fits",
                "What became of every pixel's fit; outside the specimen is white.",
                draw_png("Status of the fits", status.status_maps, study),
            ),
        )
    if any(specimen.mixture is not None for specimen in study.specimens):
        yield (
            "mixture-maps",
            Drawing(
                "Mixtures of references",
                "Share of each reference compound in every pixel's spectrum; masked pixels are white.",
                draw_png("Mixtures of references", maps.mixture_maps, study),
            ),
        )
    if study.domains is not None and domains.grouped_specimens(study):
        yield from _of_the_domains(study, study.domains)


def _of_the_domains(study: Study, pooled: PooledDomains) -> Iterator[tuple[str, Drawing]]:
    k = pooled.fraction.shape[1]
    yield (
        "domain-maps",
        Drawing(
            "Domains",
            "Domain of each pixel, in ascending order of edge energy.",
            draw_png("Domains", domains.domain_maps, study, k),
        ),
    )
    yield (
        "domain-fractions",
        Drawing(
            "Shares of the domains",
            f"Share of each domain, weighted by the amount of {study.absorber}.",
            draw_png("Shares of the domains", domains.fractions, study, pooled),
        ),
    )
    yield (
        "domain-densities",
        Drawing(
            "Domains by descriptor",
            "Density of each descriptor in each domain, every curve of unit area.",
            draw_png("Domains by descriptor", domains.densities, study, k),
        ),
    )
    if pooled.mean_absorption is not None and pooled.energy_ev is not None:
        yield (
            "domain-spectra",
            Drawing(
                "Spectra of the domains",
                "Mean absorption of each domain, and the same normalised to its edge jump.",
                draw_png("Spectra of the domains", domains.mean_spectra, study, pooled),
            ),
        )
    yield (
        "domain-scatter",
        Drawing(
            "Domains in descriptor space",
            "Every pair of descriptors; densities on the diagonal.",
            draw_png("Domains in descriptor space", domains.scatter_matrix, study, k),
        ),
    )
    yield (
        "elbow",
        Drawing(
            "Number of domains",
            "Inertia against k; the elbow lies farthest below the chord.",
            draw_png("Number of domains", domains.elbow, pooled),
        ),
    )


def _of_a_specimen(study: Study, specimen: Specimen) -> Iterator[tuple[str, Drawing]]:
    name = specimen.name
    yield (
        f"images-{name}",
        Drawing(
            "Absorption and phase",
            "Absorption at the highest and phase at the lowest energy.",
            draw_png("Absorption and phase", images.complex_images, study, specimen),
            name,
        ),
    )
    if specimen.energy_ev.size > 1 and areas.choose_areas(specimen):
        yield (
            f"area-spectra-{name}",
            Drawing(
                "Spectra of areas",
                "Mean absorption and phase of the marked areas against energy.",
                draw_png("Spectra of areas", areas.area_spectra, study, specimen),
                name,
            ),
        )
        if study.references and {"offset", "edge_jump"} <= specimen.maps.keys():
            yield (
                f"references-{name}",
                Drawing(
                    "Areas and reference compounds",
                    "Normalised absorption of the areas; reference compounds dashed.",
                    draw_png("Areas and reference compounds", areas.reference_spectra, study, specimen),
                    name,
                ),
            )
    yield from _of_a_reconstruction(specimen)


def _of_a_reconstruction(specimen: Specimen) -> Iterator[tuple[str, Drawing]]:
    name, found = specimen.name, specimen.reconstruction
    if found is not None and found.frequency_per_m is not None and (found.prtf is not None or found.frc is not None):
        yield (
            f"resolution-{name}",
            Drawing(
                "Resolution",
                "Phase-retrieval transfer function and Fourier ring correlation of every energy.",
                draw_png("Resolution", reconstruction.resolution, specimen, found),
                name,
            ),
        )
    if specimen.kk_residual is not None and specimen.energy_ev.size > 1:
        yield (
            f"kramers-kronig-{name}",
            Drawing(
                "Kramers-Kronig residual",
                "Residual of the Kramers-Kronig relation before and after the constraint.",
                draw_png("Kramers-Kronig residual", reconstruction.kramers_kronig, specimen),
                name,
            ),
        )
    if found is not None and found.probe is not None and found.probe_pixel_size_m is not None:
        yield (
            f"probe-{name}",
            Drawing(
                "Probe",
                "Amplitude and phase of the strongest probe mode at both ends of the energy range.",
                draw_png("Probe", reconstruction.probe, specimen, found),
                name,
            ),
        )
    if found is not None and found.error.size:
        yield (
            f"convergence-{name}",
            Drawing(
                "Convergence",
                "R-factor of every energy against the cycle.",
                draw_png("Convergence", reconstruction.convergence, specimen, found),
                name,
            ),
        )
