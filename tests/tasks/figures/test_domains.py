from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.container import ErrorbarContainer
from panels import panels

from tasks.figures.domains import (
    densities,
    domain_maps,
    domain_pixels,
    elbow,
    fractions,
    mean_spectra,
    scatter_matrix,
    smooth_density,
)
from tasks.figures.study import PooledDomains, Study
from tasks.figures.style import DOMAIN_COLOURS, drawing_style
from tasks.xanes.uncertainty.neighbours import blurred

ENERGY_EV = np.concatenate([np.linspace(5420, 5458, 6), np.linspace(5460, 5490, 26), np.linspace(5494, 5540, 8)])


def pooled(study: Study) -> PooledDomains:
    assert study.domains is not None
    return study.domains


def test_density_has_unit_area_and_the_normal_curve_s_height() -> None:
    pixels = np.random.default_rng(0).normal(5476.0, 0.5, 20_000)
    x, density = smooth_density(pixels, (5473.0, 5479.0))
    assert np.sum(density) * (x[1] - x[0]) == pytest.approx(1, abs=0.002)
    assert x[np.argmax(density)] == pytest.approx(5476.0, abs=0.1)
    assert density.max() == pytest.approx(1 / (0.5 * np.sqrt(2 * np.pi)), rel=0.05)


def test_density_of_a_single_value_does_not_fail() -> None:
    x, density = smooth_density(np.full(50, 3.0), (2.0, 4.0))
    assert np.sum(density) * (x[1] - x[0]) == pytest.approx(1, abs=0.01)


def test_pixels_of_domains_leave_out_standards_and_masked_ones(study: Study) -> None:
    values, labels = domain_pixels(study, "edge_energy")
    assert labels.min() == 1
    assert values.size == sum(int((s.label > 0).sum()) for s in study.specimens if s.label is not None)
    for k, true in enumerate((5474.2, 5475.6, 5477.3, 5479.0), start=1):
        assert np.median(values[labels == k]) == pytest.approx(true, abs=0.02)


def test_maps_show_every_specimen_but_the_standard(study: Study) -> None:
    figure = domain_maps(study, 4)
    assert sum(bool(axes.images) for axes in panels(figure)) == 6
    assert [patch.get_label() for patch in figure.legends[0].get_patches()] == ["1", "2", "3", "4"]


def test_elbow_is_circled_where_it_was_found(study: Study) -> None:
    (axes,) = panels(elbow(pooled(study)))
    circle = next(line for line in axes.lines if line.get_label() == "elbow: k = 4")
    assert (circle.get_xdata()[0], circle.get_ydata()[0]) == (4, pytest.approx(0.08))


def test_bars_are_as_long_as_the_fractions(study: Study) -> None:
    bars, groups = panels(fractions(study, pooled(study)))
    widths = np.array([patch.get_width() for patch in bars.patches]).reshape(4, 6).T
    np.testing.assert_allclose(widths, pooled(study).fraction)
    np.testing.assert_allclose(widths.sum(axis=1), 1)
    heights = [patch.get_height() for patch in groups.patches if patch.get_height() > 0]
    np.testing.assert_allclose(heights, np.asarray(pooled(study).group_fraction).ravel())


def test_one_specimen_s_shares_have_their_intervals(study: Study) -> None:
    one, shares = replace(study, specimens=study.specimens[:1]), pooled(study).fraction[:1]
    alone = replace(pooled(study), fraction=shares, group_fraction=shares, group_interval=None)
    assert len(panels(fractions(one, alone))) == 1
    bounds = np.stack([shares - 0.02, shares + 0.04])
    _, beside = panels(fractions(one, replace(alone, fraction_interval=bounds)))
    (bars,) = [one.lines[2][0].get_segments() for one in beside.containers if isinstance(one, ErrorbarContainer)]
    np.testing.assert_allclose([bar[:, 1] for bar in bars], bounds[:, 0].T)


def test_spectra_of_domains_are_normalised_by_their_own_jump(study: Study) -> None:
    left, right = panels(mean_spectra(study, pooled(study)))
    drawn = [line.get_ydata() for line in left.lines if len(line.get_xdata()) == ENERGY_EV.size]
    np.testing.assert_allclose(drawn[2], np.asarray(pooled(study).mean_absorption)[2])
    points = [line for line in right.lines if len(line.get_xdata()) < ENERGY_EV.size]
    half_way = [np.interp(0.5, *sorted_rise(line)) for line in points]
    np.testing.assert_allclose(half_way, [5474.2, 5475.6, 5477.3, 5479.0], atol=0.8)


def test_errors_of_domains_count_what_neighbouring_pixels_share(study: Study) -> None:
    def bars(blur_px: float) -> Any:
        shared = replace(study, specimens=tuple(replace(one, noise=blurred(blur_px)) for one in study.specimens))
        left = panels(mean_spectra(shared, pooled(shared)))[0]
        drawn = [one.lines[2][0].get_segments() for one in left.containers if isinstance(one, ErrorbarContainer)]
        return np.array([segments[0][1, 1] - segments[0][0, 1] for segments in drawn])

    alone, shared = bars(0.0), bars(0.6)
    assert alone.size == 4
    assert (alone > 0).all()
    assert (shared > 1.3 * alone).all()
    assert (shared < 2.01 * np.sqrt(np.pi) * 0.6 * alone).all()


def sorted_rise(line: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = line.get_xdata(), line.get_ydata()
    rising = slice(np.argmax(x > 5472.5), np.argmax(y) + 1)
    return y[rising], x[rising]


def test_densities_have_the_domains_colours(study: Study) -> None:
    drawn = panels(densities(study, 4))
    assert [axes.get_xlabel() for axes in drawn] == [
        "Edge energy (eV)",
        "Pre-edge area over jump,\n" + r"PE/$\Delta\mu$ (eV)",
        "Electrons per absorber,\nRe[$N_e$]/$N_{V}$",
    ]
    assert [to_rgba(line.get_color()) for line in drawn[0].lines] == [to_rgba(c) for c in DOMAIN_COLOURS[:4]]


def test_scatter_matrix_puts_each_pair_on_its_axes(study: Study) -> None:
    figure = scatter_matrix(study, 4)
    grid = np.array(panels(figure)[:9]).reshape(3, 3)
    offsets = np.asarray(grid[2, 0].collections[0].get_offsets())
    assert 500 < offsets.shape[0] <= 6000
    assert 5470 < offsets[:, 0].min() < offsets[:, 0].max() < 5483
    assert 30 < offsets[:, 1].min() < offsets[:, 1].max() < 48
    assert not grid[0, 2].axison


@pytest.mark.parametrize("n_domains", [6, 7, 11, 12])
def test_all_domains_are_in_the_legend_of_one_specimen_and_its_agreements_lie_apart(study: Study, n_domains: int) -> None:
    domains = PooledDomains(
        np.ones(12), 4, np.full((1, n_domains), 1 / n_domains), None,
        fraction_interval=np.full((2, 1, n_domains), 0.1), domain_agreement=np.full(n_domains, 0.888),
    )  # fmt: skip
    alone = replace(study, specimens=tuple(one for one in study.specimens if one.label is not None)[:1])
    with drawing_style():
        for figure in (domain_maps(alone, n_domains), fractions(alone, domains)):
            figure.draw_without_rendering()
            [legend] = figure.legends
            assert sorted(int(text.get_text()) for text in legend.get_texts()) == list(range(1, n_domains + 1))
            box = legend.get_window_extent()
            assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        extents = [text.get_window_extent() for text in figure.axes[1].get_xticklabels()]
    assert len(extents) == n_domains
    assert all(left.x1 < right.x0 for left, right in pairwise(extents))


def test_labels_of_energies_lie_apart(study: Study) -> None:
    grouped = [one for one in study.specimens if one.label is not None]
    for share in (0.1, 0.3, 0.5, 1.0, 6.0):
        squeezed = [{"edge_energy": 5478.6 + share * (one.values("edge_energy") - 5478.6)} for one in grouped]
        specimens = tuple(replace(one, maps={**one.maps, **maps}) for one, maps in zip(grouped, squeezed, strict=True))
        with drawing_style():
            figure = scatter_matrix(replace(study, specimens=specimens, descriptors=("edge_energy", "electron_ratio")), 3)
            figure.draw_without_rendering()
            low, high = figure.axes[2].get_xlim()
            labels = figure.axes[2].get_xticklabels()
            shown = [text.get_window_extent() for text in labels if low <= text.get_position()[0] <= high]
        assert len(shown) >= 2
        assert all(left.x1 < right.x0 for left, right in pairwise(shown))
