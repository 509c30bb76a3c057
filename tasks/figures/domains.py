"""Domains of all specimens together (the paper's Figs 3, S3 and S9); domain k has colour k in every figure."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from tasks.figures.panel import heading, plain_text, shared_limits, shorten, show_domains, specimen_panels
from tasks.figures.quantities import axis_label, density_label
from tasks.figures.study import PooledDomains, Specimen, Study
from tasks.figures.style import DOMAIN_COLOURS, INK, PAGE_MM, new_figure

_MAX_POINTS = 6000
_N_BINS = 400
_NAME_MM = 36.0
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
    axes.legend()
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
    patches = [Patch(color=DOMAIN_COLOURS[k], label=f"{k + 1}") for k in range(n_domains)]
    figure.legend(
        handles=patches,
        title="Domain",
        title_fontsize=7,
        loc="outside lower center",
        ncols=n_domains,
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
        axes.set_xlabel(axis_label(name, study.absorber))
        axes.set_ylabel(density_label(name))
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
    """Share of every domain in each specimen, weighted by the absorber's amount; beside it each group's."""
    names = [heading(specimen, _NAME_MM).split("\n")[0] for specimen in study.specimens if not specimen.standard]
    with_groups = domains.group_fraction is not None and len(study.groups()) > 1
    figure = new_figure(PAGE_MM, max(7 * len(names) + 26, 58 if with_groups else 34))
    ratios = [1.35, 1] if with_groups else [1]
    bars, *rest = figure.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
    _stacked_bars(bars, names, domains.fraction)
    if with_groups:
        _group_bars(rest[0], study, domains)
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
                axes.annotate(f"{100 * share:.0f}", (left[i] + share / 2, i), ha="center", va="center", fontsize=6.5, color=ink)
        left += fraction[:, k]
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25", "50", "75", "100 %"])
    # by number, because two specimens may have one title
    axes.set_yticks(range(len(names)), labels=names)
    axes.invert_yaxis()
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Share of the absorber")


def _group_bars(axes: Axes, study: Study, domains: PooledDomains) -> None:
    shares = np.asarray(domains.group_fraction)
    n_groups, n_domains = shares.shape
    width = 0.8 / n_groups
    for g, (group, share) in enumerate(zip(study.groups(), shares, strict=True)):
        at = np.arange(1, n_domains + 1) + (g - (n_groups - 1) / 2) * width
        hatch = _HATCHES[g % len(_HATCHES)]
        axes.bar(at, share, width * 0.92, color=DOMAIN_COLOURS[:n_domains], edgecolor="white", linewidth=0.5, hatch=hatch)
        if domains.group_interval is not None:
            interval = np.clip(np.abs(domains.group_interval[:, g] - share), 0, None)
            axes.errorbar(at, share, interval, fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.5)
        axes.bar(0, 0, color="#888888", edgecolor="white", linewidth=0.5, hatch=hatch, label=plain_text(shorten(group, 28)))
    axes.set_xlim(0.4, n_domains + 0.6)
    _number_domains(axes, n_domains, domains.domain_agreement)
    axes.set_ylabel("Share in the group")
    # room for the legend above the intervals
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    axes.legend(handlelength=1.6, handleheight=1.1, loc="upper center", ncols=min(n_groups, 3))


def _number_domains(axes: Axes, n_domains: int, agreement: NDArray[np.float64] | None) -> None:
    numbers = [f"{k}" for k in range(1, n_domains + 1)]
    if agreement is None:
        axes.set_xlabel("Domain")
    else:
        numbers = [f"{number}\n({share:.2f})" for number, share in zip(numbers, agreement, strict=True)]
        axes.set_xlabel("Domain (Jaccard index over bootstraps)")
    axes.set_xticks(range(1, n_domains + 1), labels=numbers)


def mean_spectra(study: Study, domains: PooledDomains) -> Figure:
    """Mean absorption of each domain: as measured, and normalised to its edge jump around the edge."""
    spectra, energy = np.asarray(domains.mean_absorption), np.asarray(domains.energy_ev)
    normalised = _normalise(study, spectra)
    figure = new_figure(PAGE_MM if normalised is not None else 0.6 * PAGE_MM, 64)
    panels = figure.subplots(1, 2 if normalised is not None else 1, squeeze=False)[0]
    for k, spectrum in enumerate(spectra):
        panels[0].plot(energy, spectrum, "o-", color=DOMAIN_COLOURS[k], markersize=2)
    panels[0].set_ylabel(f"Mean {axis_label('absorption').lower().replace('|o|', '|O|')}")
    if normalised is not None:
        energies, _ = domain_pixels(study, "edge_energy")
        edge = float(np.median(energies)) if energies.size else float(energy.mean())
        near = (energy > edge - 18) & (energy < edge + 22)
        for k, spectrum in enumerate(normalised):
            panels[1].plot(energy[near], spectrum[near], "o-", color=DOMAIN_COLOURS[k], markersize=2)
        panels[1].set_ylabel("Normalised absorption")
    for axes in panels:
        axes.set_xlabel("Energy (eV)")
    _explain_domains(figure, len(spectra))
    return figure


def _normalise(study: Study, spectra: NDArray[np.float64]) -> NDArray[np.float64] | None:
    needed = ("offset", "edge_jump", "edge_energy")
    if not all(name in specimen.maps for specimen in grouped_specimens(study) for name in needed):
        return None
    (offset, labels), (jump, _) = domain_pixels(study, "offset"), domain_pixels(study, "edge_jump")
    numbers = range(1, len(spectra) + 1)
    means = [(offset[labels == k].mean(), jump[labels == k].mean()) if (labels == k).any() else (0, 0) for k in numbers]
    return np.stack([(spectrum - a) / (b or np.nan) for spectrum, (a, b) in zip(spectra, means, strict=True)])


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
        grid[-1, i].set_xlabel(axis_label(name, study.absorber))
        if i > 0:
            grid[i, 0].set_ylabel(axis_label(name, study.absorber))
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
    axes.scatter(x, y, c=np.array(DOMAIN_COLOURS)[labels - 1], s=1.2, linewidths=0, alpha=0.5)
    axes.set_ylim(*_widened(span))


def _widened(span: tuple[float, float]) -> tuple[float, float]:
    margin = 0.05 * (span[1] - span[0])
    return span[0] - margin, span[1] + margin
