import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from panels import panels

from tasks.figures.images import complex_images
from tasks.figures.maps import histograms, mixture_maps, specimen_colour, state_maps
from tasks.figures.quantities import axis_label, density_label
from tasks.figures.study import Study
from tasks.figures.style import GROUP_COLOURS, STANDARD_COLOUR, draw_png

NAMES = ("edge_energy", "pre_edge_ratio", "electron_ratio")


@pytest.mark.parametrize("n_specimens", [1, 2, 4])
def test_one_colour_scale_a_quantity_and_one_field_of_view(study: Study, n_specimens: int) -> None:
    some = replace(study, specimens=study.specimens[:n_specimens])
    figure = state_maps(some, NAMES)
    drawn = [axes for axes in panels(figure) if axes.images]
    assert len(drawn) == 3 * n_specimens
    limits = {axes.images[0].get_clim() for axes in drawn}
    assert len(limits) == 3
    assert len({round(float(np.ptp(axes.get_xlim())), 6) for axes in drawn}) == 1


def test_masked_pixels_are_white_in_the_png(study: Study) -> None:
    one = study.specimens[0]
    hidden = replace(one, maps={**one.maps, "mask": np.zeros_like(one.kept())})
    only_mask = draw_png("m", state_maps, replace(study, specimens=(hidden,)), NAMES)
    drawn = draw_png("m", state_maps, replace(study, specimens=(one,)), NAMES)
    white = imread(io.BytesIO(only_mask))[..., :3]
    inside = slice(white.shape[0] // 4, white.shape[0] // 2), slice(white.shape[1] // 20, white.shape[1] // 5)
    assert np.all(white[inside] == 1)
    assert imread(io.BytesIO(drawn))[..., :3][inside].min() < 0.5


def test_a_map_shows_the_values_it_was_given(study: Study) -> None:
    one = study.specimens[0]
    figure = state_maps(replace(study, specimens=(one,)), ("edge_energy",))
    shown = next(axes.images[0] for axes in panels(figure) if axes.images).get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), ~one.kept())
    np.testing.assert_allclose(shown.compressed(), one.maps["edge_energy"][one.kept()])


def test_absorption_is_drawn_at_the_highest_and_phase_at_the_lowest_energy(study: Study) -> None:
    one = study.specimens[1]
    first, second = [axes for axes in panels(complex_images(study, one)) if axes.images]
    np.testing.assert_allclose(first.images[0].get_array(), one.absorption[-1])
    np.testing.assert_allclose(second.images[0].get_array(), one.image("phase")[0])
    assert "5540.0 eV" in first.get_title(loc="left")
    assert "5420.0 eV" in second.get_title(loc="left")


def test_images_of_different_specimens_share_their_scale(study: Study) -> None:
    figures = [complex_images(study, specimen) for specimen in study.specimens[:2]]
    limits = [[axes.images[0].get_clim() for axes in panels(figure) if axes.images] for figure in figures]
    assert len(limits[0]) == 2
    assert limits[0] == limits[1]


def test_histograms_mark_the_median_and_the_theory(study: Study) -> None:
    some = replace(study, specimens=study.specimens[:2])
    figure = histograms(some, NAMES)
    grid = np.array(panels(figure)[:6]).reshape(2, 3)
    for axes, specimen in zip(grid[:, 0], some.specimens, strict=True):
        median = np.nanmedian(specimen.values("edge_energy"))
        assert any(line.get_xdata()[0] == pytest.approx(median) for line in axes.lines)
    theory = [line.get_xdata()[0] for line in grid[0, 2].lines]
    assert {39.7, 35.0, 43.1} <= set(theory)
    low, high = grid[0, 2].get_xlim()
    assert low < 35.0
    assert high > 43.1


def test_groups_have_colours_and_standards_are_grey(study: Study) -> None:
    assert specimen_colour(study, study.specimens[0]) == GROUP_COLOURS[0]
    assert specimen_colour(study, study.specimens[5]) == GROUP_COLOURS[1]
    assert specimen_colour(study, study.specimens[6]) == STANDARD_COLOUR


def test_labels_name_the_absorber_and_the_unit() -> None:
    assert axis_label("edge_energy") == "Edge energy (eV)"
    assert axis_label("electron_ratio", "Fe") == "Electrons per absorber, Re[$N_e$]/$N_{Fe}$"
    assert axis_label("edge_energy_sigma") == "Standard error of edge energy (eV)"
    assert axis_label("edge_energy_sigma", lines=2) == "Standard error of\nedge energy (eV)"
    assert axis_label("pre_edge_ratio_sigma", lines=2) == "Standard error of\nPE/$\\Delta\\mu$ (eV)"
    assert axis_label("electron_ratio_sigma", "Fe", lines=2) == "Standard error of\nRe[$N_e$]/$N_{Fe}$"
    assert axis_label("something_new") == "Something new"
    assert density_label("edge_energy") == "Density (eV$^{-1}$)"
    assert density_label("electron_ratio") == "Density"


def test_mixtures_have_a_row_a_reference_on_a_scale_from_0_to_1(study: Study) -> None:
    some = [
        replace(one, mixture=np.where(one.kept(), np.array([0.25, 0.75])[:, None, None], np.nan)) for one in study.specimens[:3]
    ]
    figure = mixture_maps(replace(study, specimens=(*some, study.specimens[3])))
    drawn = [axes for axes in panels(figure) if axes.images]
    assert len(drawn) == 3 * len(study.references)
    assert {axes.images[0].get_clim() for axes in drawn} == {(0.0, 1.0)}
    labels = [bar.get_ylabel() for axes in drawn for bar in axes.child_axes]
    assert labels == ["V$_{2}$O$_{3}$", "V$_{2}$O$_{5}$"]


def test_any_number_of_groups_with_names_of_any_length_is_drawn(study: Study) -> None:
    one = study.specimens[0]
    names = [f"{'a very long name ' * 12}{i}" for i in range(8)]
    many = replace(study, specimens=tuple(replace(one, name=name, group=name) for name in names))
    figure = histograms(many, ("edge_energy",))
    assert [len(text.get_text()) <= 28 for text in figure.legends[0].get_texts()] == [True] * 8
    assert specimen_colour(many, many.specimens[6]) == specimen_colour(many, many.specimens[0])
