from dataclasses import replace

import numpy as np
import pytest

from tasks.figures.reconstruction import convergence, kramers_kronig, probe, resolution
from tasks.figures.study import Reconstruction, Specimen, Study


@pytest.fixture
def specimen(study: Study) -> Specimen:
    return study.specimens[0]


@pytest.fixture
def found(specimen: Specimen) -> Reconstruction:
    assert specimen.reconstruction is not None
    return specimen.reconstruction


def test_every_energy_has_its_convergence(specimen: Specimen, found: Reconstruction) -> None:
    axes = convergence(specimen, found).axes[0]
    *energies, noise = axes.lines
    assert len(energies) == specimen.energy_ev.size
    np.testing.assert_allclose(noise.get_ydata(), found.noise_error[0])
    np.testing.assert_allclose(axes.lines[3].get_ydata(), found.error[3])
    assert axes.lines[0].get_xdata()[0] == 1


def test_small_r_factors_are_read_as_powers_of_ten(specimen: Specimen, found: Reconstruction) -> None:
    axes = convergence(specimen, replace(found, error=found.error * 1e-3)).axes[0]
    form = axes.yaxis.get_major_formatter()
    assert [form(value) for value in (0.05, 1e-3, 5e-5)] == ["0.05", "0.001", r"$5 \times 10^{-5}$"]


def test_resolution_draws_both_measures_with_their_thresholds(specimen: Specimen, found: Reconstruction) -> None:
    prtf, frc, *_ = resolution(specimen, found).axes
    assert prtf.get_xlim()[1] == pytest.approx(33)
    assert any(np.allclose(line.get_ydata(), 1 / np.e) for line in prtf.lines)
    labels = [text.get_text() for text in frc.get_legend().get_texts()]
    assert labels == ["half bit", "median: 48 nm full period"]


def test_resolution_takes_a_frequency_axis_an_energy_and_no_prtf(specimen: Specimen, found: Reconstruction) -> None:
    assert found.frequency_per_m is not None
    stretched = found.frequency_per_m * np.linspace(1, 1.02, specimen.energy_ev.size)[:, None]
    unresolved = np.full(specimen.energy_ev.size, np.nan)
    axes = resolution(
        specimen, replace(found, prtf=None, frequency_per_m=stretched, resolution_m=unresolved, half_bit=None)
    ).axes[0]
    assert axes.get_ylabel() == "FRC"
    assert axes.lines[-1].get_xdata()[-1] == pytest.approx(33 * 1.02)


def test_probe_shows_both_ends_of_the_range_on_one_scale(specimen: Specimen, found: Reconstruction) -> None:
    assert found.probe is not None
    panels = [axes for axes in probe(specimen, found).axes if axes.images]
    assert len(panels) == 4
    assert panels[0].images[0].get_clim() == panels[2].images[0].get_clim()
    np.testing.assert_allclose(panels[0].images[0].get_array(), np.abs(found.probe[0, 0]))
    assert np.ma.getmaskarray(panels[1].images[0].get_array())[0, 0]


def test_a_probe_s_modes_are_told(specimen: Specimen, found: Reconstruction) -> None:
    assert found.probe is not None
    two = np.concatenate([found.probe, 0.5 * found.probe], axis=1)
    axes = probe(specimen, replace(found, probe=two)).axes[0]
    assert "mode 1 (80 %)" in axes.get_title(loc="left")


def test_a_missing_probe_is_an_error(specimen: Specimen, found: Reconstruction) -> None:
    with pytest.raises(ValueError, match="no probe"):
        probe(specimen, replace(found, probe=None))


def test_residual_is_drawn_before_and_after(specimen: Specimen) -> None:
    before, after = kramers_kronig(specimen).axes[0].lines
    np.testing.assert_allclose(before.get_ydata(), specimen.kk_residual_before)
    np.testing.assert_allclose(after.get_ydata(), specimen.kk_residual)
