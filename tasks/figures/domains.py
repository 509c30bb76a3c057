"""Domains of all specimens together (the paper's Figs 3, S3 and S9); domain k has colour k in every figure."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from tasks.areas import AreaFit, error_of_mean
from tasks.figures.areas import plot_spectrum
from tasks.figures.dark import ON_COLOUR
from tasks.figures.panel import (
    MAX_GROUP,
    heading,
    legend_above,
    letter_panels,
    plain_text,
    shared_limits,
    shorten,
    show_domains,
    space_ticks,
    specimen_panels,
)
from tasks.figures.quantities import axis_label, density_label
from tasks.figures.study import PooledDomains, Specimen, Study
from tasks.figures.style import DOMAIN_COLOURS, INK, MM_PER_INCH, PAGE_MM, new_figure

_MAX_POINTS = 6000
_N_BINS = 400
_NAME_MM = 36.0
_ENTRY_MM = 9.5
"""Width of a domain in the legend [mm]."""
_MANY_DOMAINS = 7
"""Of more than these, the agreements beneath the numbers are set small."""
_HATCHES = ("", "////", "....", "xxxx")


def grouped_specimens(study: Study) -> list[Specimen]:
    """The specimens that have domains."""
    return [specimen for specimen in study.specimens if specimen.label is not None]


def domain_pixels(study: Study, name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Map ``name`` and domain of every grouped pixel of the study, as two (n,) arrays."""
    values, labels = [], []
    for specimen in grouped_specimens(study):
        label = np.asarray(specimen.label)
        inside = (label > 0) & np.isfinite(specimen.values(name))
        values.append(specimen.values(name)[inside])
        labels.append(label[inside].astype(np.int64))
    return np.concatenate(values), np.concatenate(labels)


def elbow(domains: PooledDomains) -> Figure:
    """Inertia against the number of domains; the elbow lies farthest below the chord."""
    figure = new_figure(0.5 * PAGE_MM, 58)
    axes = figure.subplots()
    k = np.arange(1, domains.inertia.size + 1)
    share = domains.inertia / domains.inertia[0]
    axes.plot(k[[0, -1]], share[[0, -1]], color="#BBBBBB", linewidth=0.8, linestyle="--")
    axes.plot(k, share, "o-", color=INK)
    at = domains.elbow - 1
    axes.plot(
        k[at],
        share[at],
        "o",
        markersize=10,
        markerfacecolor="none",
        markeredgecolor="#D55E00",
        label=f"elbow: k = {domains.elbow}",
    )
    used = domains.fraction.shape[1]
    if used <= k.size:
        axes.axvline(used, color="#0072B2", linewidth=0.8, linestyle=":", label=f"used: k = {used}")
    axes.set_xticks(k)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("Number of domains k")
    axes.set_ylabel("Inertia, relative to k = 1")
    legend_above(axes)
    return figure


def domain_maps(study: Study, n_domains: int) -> Figure:
    """Domain of every pixel, white outside, all specimens on one length scale."""
    specimens = grouped_specimens(study)
    figure, panels = specimen_panels(specimens)
    for axes, specimen in zip(panels, specimens, strict=True):
        show_domains(axes, np.asarray(specimen.label), specimen.pixel_size_m)
    _explain_domains(figure, n_domains)
    return figure


def _explain_domains(figure: Figure, n_domains: int) -> None:
    n_rows = -(-n_domains // max(int(figure.get_figwidth() * MM_PER_INCH / _ENTRY_MM), 1))
    ncols = -(-n_domains // n_rows)
    # a legend is filled by columns, and read by rows
    patches = [
        Patch(color=DOMAIN_COLOURS[k], label=f"{k + 1}") for column in range(ncols) for k in range(column, n_domains, ncols)
    ]
    figure.legend(
        handles=patches,
        title="Domain",
        title_fontsize=7,
        loc="outside lower center",
        ncols=ncols,
        handlelength=1,
        columnspacing=1.2,
    )


def densities(study: Study, n_domains: int) -> Figure:
    """Density of each descriptor in each domain, every curve of unit area."""
    names = study.descriptors
    figure = new_figure(PAGE_MM if len(names) > 1 else PAGE_MM / 2, 58)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        values, labels = domain_pixels(study, name)
        _density_by_domain(axes, values, labels, shared_limits([values], 0.5, 99.5), n_domains)
        axes.set_xlabel(axis_label(name, study.absorber, lines=2))
        axes.set_ylabel(density_label(name))
        space_ticks(axes, PAGE_MM / len(names) - 18)
    letter_panels(panels)
    _explain_domains(figure, n_domains)
    return figure


def _density(axes: Axes, pixels: NDArray[np.float64], span: tuple[float, float], k: int) -> None:
    if pixels.size < 2:
        return
    x, height = smooth_density(pixels, span)
    axes.fill_between(x, height, color=DOMAIN_COLOURS[k - 1], alpha=0.2, linewidth=0)
    # the empty stretches of one curve would paint over the axis and the others
    axes.plot(x, np.where(height > 1e-3 * height.max(), height, np.nan), color=DOMAIN_COLOURS[k - 1])
    if height.max() > 0:
        top = int(np.argmax(height))
        axes.annotate(
            f"{k}",
            (x[top], height[top]),
            xytext=(0, 1.5),
            textcoords="offset points",
            ha="center",
            fontsize=6.5,
            color=DOMAIN_COLOURS[k - 1],
            fontweight="bold",
            fontfamily="DejaVu Sans",
        )


def smooth_density(pixels: NDArray[np.float64], span: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gaussian kernel density of ``pixels`` (n,) on a grid a little wider than ``span``; Silverman's bandwidth.

    The spread is the smaller of the standard deviation and the interquartile range / 1.34, so that a few outliers
    do not blur a narrow domain.
    """
    low, high = span[0] - 0.05 * (span[1] - span[0]), span[1] + 0.05 * (span[1] - span[0])
    counts, edges = np.histogram(pixels, _N_BINS, (low, high))
    step = edges[1] - edges[0]
    quartiles = np.percentile(pixels, [25, 75])
    spread = min(float(pixels.std()), float(quartiles[1] - quartiles[0]) / 1.34) or float(pixels.std())
    bandwidth = max(0.9 * spread * pixels.size**-0.2, step)
    density = gaussian_filter1d(counts / (pixels.size * step), bandwidth / step, mode="constant")
    return (edges[:-1] + edges[1:]) / 2, density


def fractions(study: Study, domains: PooledDomains) -> Figure:
    """Share of every domain in each specimen, weighted by the absorber's amount; beside it each group's, or the one specimen's,
    with intervals."""
    names = [heading(specimen, _NAME_MM).split("\n")[0] for specimen in study.specimens if not specimen.standard]
    beside = _shares_with_intervals(study, domains, names)
    figure = new_figure(PAGE_MM, max(7 * len(names) + 26, 62 if beside else 34))
    bars, *rest = figure.subplots(1, 2 if beside else 1, squeeze=False, width_ratios=[1.35, 1] if beside else [1])[0]
    _stacked_bars(bars, names, domains.fraction)
    if beside:
        _share_bars(rest[0], *beside)
        _number_domains(rest[0], domains.fraction.shape[1], domains.domain_agreement)
        letter_panels((bars, *rest))
    _explain_domains(figure, domains.fraction.shape[1])
    return figure


def _stacked_bars(axes: Axes, names: Sequence[str], fraction: NDArray[np.float64]) -> None:
    left = np.zeros(len(names))
    for k in range(fraction.shape[1]):
        axes.barh(
            range(len(names)), fraction[:, k], left=left, color=DOMAIN_COLOURS[k], height=0.72, edgecolor="white", linewidth=0.6
        )
        for i, share in enumerate(fraction[:, k]):
            if share >= 0.06:
                ink = "white" if k in (0, 2, 3, 7, 8, 10) else INK
                place, words = (left[i] + share / 2, i), f"{100 * share:.0f}"
                axes.annotate(words, place, ha="center", va="center", fontsize=6.5, color=ink, gid=ON_COLOUR)
        left += fraction[:, k]
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25", "50", "75", "100"])
    # by number, because two specimens may have one title
    axes.set_yticks(range(len(names)), labels=names)
    axes.invert_yaxis()
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Share of the absorber (%)")


def _shares_with_intervals(
    study: Study, domains: PooledDomains, names: Sequence[str]
) -> tuple[Sequence[str], NDArray[np.float64], NDArray[np.float64] | None] | None:
    """Names, shares (G, k) and intervals (2, G, k) of the groups; of one specimen its own; None where nothing is left to say."""
    if len(names) == 1 and domains.fraction_interval is not None:
        return names, domains.fraction, domains.fraction_interval
    groups = [plain_text(shorten(group, MAX_GROUP)) for group in study.groups()]
    if domains.group_fraction is None or (len(groups) < 2 and domains.group_interval is None):
        return None
    return groups, domains.group_fraction, domains.group_interval


def _share_bars(axes: Axes, names: Sequence[str], shares: NDArray[np.float64], intervals: NDArray[np.float64] | None) -> None:
    n_groups, n_domains = shares.shape
    width = 0.8 / n_groups
    for g, (group, share) in enumerate(zip(names, shares, strict=True)):
        at = np.arange(1, n_domains + 1) + (g - (n_groups - 1) / 2) * width
        hatch = _HATCHES[g % len(_HATCHES)]
        axes.bar(at, share, width * 0.92, color=DOMAIN_COLOURS[:n_domains], edgecolor="white", linewidth=0.5, hatch=hatch)
        if intervals is not None:
            interval = np.clip(np.abs(intervals[:, g] - share), 0, None)
            axes.errorbar(at, share, interval, fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.5)
        axes.bar(0, 0, color="#888888", edgecolor="white", linewidth=0.5, hatch=hatch, label=group)
    axes.set_xlim(0.4, n_domains + 0.6)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes.set_ylabel("Share of the absorber (%)" if n_groups == 1 else "Share in the group (%)")
    legend_above(axes, handlelength=1.6, handleheight=1.1)


def _number_domains(axes: Axes, n_domains: int, agreement: NDArray[np.float64] | None) -> None:
    numbers = [f"{k}" for k in range(1, n_domains + 1)]
    if agreement is None:
        axes.set_xlabel("Domain")
    else:
        numbers = [f"{number}\n({share:.2f})" for number, share in zip(numbers, agreement, strict=True)]
        axes.set_xlabel("Domain (Jaccard index over bootstraps)")
    is_small = agreement is not None and n_domains > _MANY_DOMAINS
    axes.set_xticks(range(1, n_domains + 1), labels=numbers)
    if is_small:
        axes.tick_params(axis="x", labelsize=4.5)


def mean_spectra(study: Study, domains: PooledDomains) -> Figure:
    """Mean absorption of each domain: as measured, and normalised to its edge jump around the edge; lines are eq. 1."""
    spectra, energy = np.asarray(domains.mean_absorption), np.asarray(domains.energy_ev)
    normalised = _offsets_and_jumps(study, len(spectra))
    figure = new_figure(PAGE_MM if normalised is not None else 0.6 * PAGE_MM, 64)
    panels = figure.subplots(1, 2 if normalised is not None else 1, squeeze=False)[0]
    errors = _mean_errors(study, len(spectra), energy.size)
    fits = [study.fitted(energy, spectrum, sigma) for spectrum, sigma in zip(spectra, errors, strict=True)]
    for k, spectrum in enumerate(spectra):
        plot_spectrum(panels[0], energy, spectrum, errors[k], DOMAIN_COLOURS[k], fits[k])
    panels[0].set_ylabel(f"Mean {axis_label('absorption').lower().replace('|o|', '|O|')}")
    if normalised is not None:
        energies, _ = domain_pixels(study, "edge_energy")
        edge = float(np.median(energies)) if energies.size else float(energy.mean())
        near = (energy > edge - 18) & (energy < edge + 22)
        for k, (offset, jump) in enumerate(normalised):
            fit = scaled_fit(fits[k], offset, jump)
            plot_spectrum(
                panels[1], energy[near], ((spectra[k] - offset) / jump)[near], (errors[k] / jump)[near], DOMAIN_COLOURS[k], fit
            )
        panels[1].set_xlim(energy[near].min(initial=edge - 18) - 1, energy[near].max(initial=edge + 22) + 1)
        panels[1].set_ylabel("Normalised absorption")
        letter_panels(panels)
    for axes in panels:
        axes.set_xlabel("Energy (eV)")
    _explain_domains(figure, len(spectra))
    return figure


def _mean_errors(study: Study, n_domains: int, n_energies: int) -> NDArray[np.float64]:
    """(k, E) standard errors of the domains' mean absorption; NaN where unknown."""
    variance = np.zeros((n_domains, n_energies))
    n_pixels = np.zeros((n_domains, 1))
    for specimen in grouped_specimens(study):
        sigma = np.full(n_energies, np.nan) if specimen.sigma_absorption is None else specimen.sigma_absorption
        for k, inside in enumerate(np.arange(1, n_domains + 1)[:, None, None] == np.asarray(specimen.label)):
            if n := np.count_nonzero(inside):
                variance[k] += (n * error_of_mean(sigma, inside, specimen.noise, specimen.maps.get("residual"))) ** 2
                n_pixels[k] += n
    return np.asarray(np.sqrt(variance) / np.maximum(n_pixels, 1))


def scaled_fit(fit: AreaFit | None, offset: float, jump: float) -> AreaFit | None:
    """The curve of a spectrum that is normalised to 0 before the edge and a jump of 1."""
    return fit and replace(fit, curve=(fit.curve - offset) / jump)


def _offsets_and_jumps(study: Study, n_domains: int) -> list[tuple[float, float]] | None:
    """Mean offset and edge jump of each domain's pixels; None without maps."""
    needed = ("offset", "edge_jump", "edge_energy")
    if not all(name in specimen.maps for specimen in grouped_specimens(study) for name in needed):
        return None
    (offset, labels), (jump, _) = domain_pixels(study, "offset"), domain_pixels(study, "edge_jump")
    chosen = [labels == k for k in range(1, n_domains + 1)]
    return [(float(offset[one].mean()), float(jump[one].mean())) if one.any() else (0.0, np.nan) for one in chosen]


def scatter_matrix(study: Study, n_domains: int) -> Figure:
    """Every pair of descriptors, one point a pixel (a fixed random choice of 6000), densities on the diagonal."""
    names = study.descriptors
    values = [domain_pixels(study, name)[0] for name in names]
    labels = domain_pixels(study, names[0])[1]
    chosen = np.random.default_rng(0).permutation(labels.size)[:_MAX_POINTS]
    spans = [shared_limits([column], 0.5, 99.5) for column in values]
    side = min(PAGE_MM, 52.0 * len(names) + 12)
    figure = new_figure(side, side * 0.92)
    grid: NDArray[np.object_] = figure.subplots(len(names), len(names), squeeze=False, sharex="col")
    for i, name in enumerate(names):
        _density_by_domain(grid[i, i], values[i], labels, spans[i], n_domains)
        for j in range(i):
            _scatter(grid[i, j], values[j][chosen], values[i][chosen], labels[chosen], spans[i])
        for axes in grid[i, i + 1 :]:
            axes.set_axis_off()
        grid[-1, i].set_xlim(*_widened(spans[i]))
        grid[-1, i].set_xlabel(axis_label(name, study.absorber, lines=2))
        space_ticks(grid[-1, i], side / len(names) - 10)
        if i > 0:
            grid[i, 0].set_ylabel(axis_label(name, study.absorber, lines=2))
    _explain_domains(figure, n_domains)
    return figure


def _density_by_domain(
    axes: Axes, values: NDArray[np.float64], labels: NDArray[np.int64], span: tuple[float, float], n_domains: int
) -> None:
    for k in range(1, n_domains + 1):
        _density(axes, values[labels == k], span, k)
    axes.set_ylim(bottom=0)


def _scatter(
    axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], labels: NDArray[np.int64], span: tuple[float, float]
) -> None:
    axes.scatter(x, y, c=np.array(DOMAIN_COLOURS)[labels - 1], s=1.2, linewidths=0, alpha=0.5, rasterized=True)
    axes.set_ylim(*_widened(span))


def _widened(span: tuple[float, float]) -> tuple[float, float]:
    margin = 0.05 * (span[1] - span[0])
    return span[0] - margin, span[1] + margin
