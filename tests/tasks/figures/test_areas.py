from dataclasses import replace

import numpy as np
import pytest
from panels import panels

from tasks.figures.areas import (
    area_electrons,
    area_mask,
    area_spectra,
    choose_areas,
    normalised_spectrum,
    reference_spectra,
    with_error,
)
from tasks.figures.study import Disc, Specimen, Study


def test_an_area_is_a_disc() -> None:
    mask = area_mask(Disc("A", 10, 12, 4.0), (40, 40))
    y, x = np.nonzero(mask)
    assert mask.sum() == pytest.approx(np.pi * 16, rel=0.06)
    assert (y.mean(), x.mean()) == (10, 12)


def test_chosen_areas_lie_inside_do_not_overlap_and_ascend_in_edge_energy(study: Study) -> None:
    one = study.specimens[3]
    areas = choose_areas(one)
    assert [area.name for area in areas] == ["A", "B", "C"]
    masks = [area_mask(area, one.absorption.shape) for area in areas]
    assert np.sum(masks, axis=0).max() == 1
    assert all(one.kept()[mask].all() for mask in masks)
    means = [one.values("edge_energy")[mask].mean() for mask in masks]
    assert means == sorted(means)
    assert means[2] - means[0] > 2


def test_areas_of_the_user_come_first_and_nothing_is_chosen_without_a_map(study: Study) -> None:
    own = (Disc("rim", 20, 30, 3.0),)
    assert choose_areas(replace(study.specimens[0], areas=own)) == own
    assert choose_areas(replace(study.specimens[0], maps={})) == ()
    nothing_kept = {**study.specimens[0].maps, "mask": np.zeros((96, 110), dtype=bool)}
    assert choose_areas(replace(study.specimens[0], maps=nothing_kept)) == ()


def test_normalised_spectrum_has_no_offset_and_a_jump_of_one(study: Study) -> None:
    one = study.specimens[0]
    spectrum = normalised_spectrum(one, choose_areas(one)[0])
    assert spectrum[0] == pytest.approx(0, abs=0.02)
    # the white line's wing is 0.35 / (1 + (56 / 5)^2) at the last energy
    assert spectrum[-1] == pytest.approx(1.0028, abs=0.02)


def test_drawn_spectra_are_the_areas_means(study: Study) -> None:
    one = study.specimens[0]
    areas = choose_areas(one)
    figure = area_spectra(study, one)
    absorption, phase = [axes for axes in panels(figure) if axes.get_xlabel() == "Energy (eV)"]
    inside = area_mask(areas[0], one.absorption.shape)
    np.testing.assert_allclose(absorption.lines[0].get_ydata(), one.absorption[:, inside].mean(axis=1), rtol=1e-5)
    bars = absorption.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([bar[1, 1] - bar[0, 1] for bar in bars], 2 * 1.5e-3 / np.sqrt(inside.sum()), rtol=1e-4)
    curves = [line for line in absorption.lines if len(line.get_xdata()) == 400]
    on_points = np.interp(one.energy_ev, curves[0].get_xdata(), curves[0].get_ydata())
    np.testing.assert_allclose(on_points, absorption.lines[0].get_ydata(), atol=2e-3)
    np.testing.assert_allclose(phase.lines[0].get_ydata(), one.image("phase")[:, inside].mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(phase.lines[0].get_xdata(), one.energy_ev)


def test_references_are_overlaid(study: Study) -> None:
    (axes,) = panels(reference_spectra(study, study.specimens[0]))
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["Area A", "Area B", "Area C", "V$_{2}$O$_{3}$", "V$_{2}$O$_{5}$"]
    assert [line.get_linestyle() for line in axes.lines[:3]] == ["-"] * 3
    assert len({line.get_color() for line in axes.lines}) == 5
    assert all(line.get_linestyle() != "-" for line in axes.lines[3:])


def with_amounts(specimen: Specimen) -> Specimen:
    """The specimen with 38 electrons an atom, 3 % error of the atoms, 4 % of the electrons."""
    atoms = np.linspace(1e21, 3e22, specimen.kept().size).reshape(specimen.kept().shape)
    maps = {
        "n_absorber": atoms, "n_electron": 38 * atoms, "n_electron_sigma": 0.04 * 38 * atoms,
        "edge_jump": atoms, "edge_jump_sigma": 0.03 * atoms,
    }  # fmt: skip
    return replace(specimen, maps={**specimen.maps, **maps})


def test_an_area_s_ratio_is_its_electrons_over_its_atoms(study: Study) -> None:
    one = with_amounts(study.specimens[0])
    area = choose_areas(one)[0]
    inside = area_mask(area, one.absorption.shape)
    electrons, atoms = one.maps["n_electron"], one.maps["n_absorber"]
    thin = np.argwhere(inside)[0]
    electrons[tuple(thin)] *= 3
    found = area_electrons(one, area)
    assert found is not None
    ratio, sigma = found
    assert ratio == pytest.approx(electrons[inside].sum() / atoms[inside].sum())
    assert ratio != pytest.approx(np.mean(electrons[inside] / atoms[inside]), rel=1e-9)
    assert sigma == pytest.approx(38 * 0.05 / np.sqrt(inside.sum()), rel=0.1)
    assert area_electrons(study.specimens[0], area) is None


def test_the_phase_panel_tells_the_ratios(study: Study) -> None:
    one = with_amounts(study.specimens[0])
    told = [(area.name, *(area_electrons(one, area) or ())) for area in choose_areas(one)]
    whole = replace(study, specimens=(one, *study.specimens[1:]))
    legend = panels(area_spectra(whole, one))[-1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{name}: {with_error(ratio, sigma)}" for name, ratio, sigma in told
    ]
    assert legend.get_title().get_text() == "Electrons per V atom"
    assert panels(area_spectra(study, study.specimens[0]))[-1].get_legend() is None


@pytest.mark.parametrize(
    ("value", "sigma", "words"),
    [(37.8421, 0.0312, "37.842 ± 0.031"), (46.04, 0.5, "46.04 ± 0.50"), (40.0, 12.3, "40 ± 12"), (38.0, np.nan, "38.0 ± nan")],
)
def test_an_error_has_two_digits(value: float, sigma: float, words: str) -> None:
    assert with_error(value, sigma) == words
