from dataclasses import replace

import numpy as np
import pytest
from panels import panels

from tasks.figures.reconstruction import convergence, kramers_kronig, probe, resolution
from tasks.figures.study import ReconstructionQuality, Specimen, Study


@pytest.fixture
def specimen(study: Study) -> Specimen:
    return study.specimens[0]


@pytest.fixture
def found(specimen: Specimen) -> ReconstructionQuality:
    assert specimen.reconstruction is not None
    return specimen.reconstruction


def test_every_energy_has_its_convergence(specimen: Specimen, found: ReconstructionQuality) -> None:
    axes = panels(convergence(specimen, found))[0]
    *energies, noise = axes.lines
    assert len(energies) == specimen.energy_ev.size
    np.testing.assert_allclose(noise.get_ydata(), np.asarray(found.noise_error)[0])
    np.testing.assert_allclose(axes.lines[3].get_ydata(), found.error[3])
    assert axes.lines[0].get_xdata()[0] == 1


def test_cycles_that_saw_the_middle_of_the_frames_are_dotted(specimen: Specimen, found: ReconstructionQuality) -> None:
    sides = np.full_like(found.error, 256, dtype=np.int16)
    sides[:, :28] = 128
    sides[3] = [128] * 28 + [256] * 20 + [0] * (len(sides[3]) - 48)
    axes = panels(convergence(specimen, replace(found, frame_px=sides)))[0]
    curves = axes.lines[: 2 * specimen.energy_ev.size]
    assert {line.get_linestyle() for line in curves[::2]} == {"-"}
    assert {line.get_linestyle() for line in curves[1::2]} == {":"}
    for line, half in zip(curves, [False, True] * specimen.energy_ev.size, strict=True):
        assert np.isfinite(line.get_ydata()[:28]).all() == half
    assert np.isnan(curves[7].get_ydata()[28:48]).all()
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["middle half of frames", "photon noise"]


def test_energies_that_end_early_saw_the_whole_frames(specimen: Specimen, found: ReconstructionQuality) -> None:
    sides = np.full_like(found.error, 96, dtype=np.int16)
    sides[3, 48:] = 0
    axes = panels(convergence(specimen, replace(found, frame_px=sides)))[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["photon noise"]


def test_small_r_factors_are_read_as_powers_of_ten(specimen: Specimen, found: ReconstructionQuality) -> None:
    axes = panels(convergence(specimen, replace(found, error=found.error * 1e-3)))[0]
    form = axes.yaxis.get_major_formatter()
    assert ["10^{-2}" in form(1e-2), "10^{-5}" in form(1e-5)] == [True, True]
    assert [f"{tick:g}" for tick in axes.get_yticks() if 5e-6 < tick < 5e-3] == ["1e-05", "0.0001", "0.001"]
    large = panels(convergence(specimen, found))[0].yaxis.get_major_formatter()
    assert large(0.05) == "0.05"


def test_resolution_draws_both_measures_with_their_thresholds(specimen: Specimen, found: ReconstructionQuality) -> None:
    prtf, frc, *_ = panels(resolution(specimen, found))
    assert prtf.get_xlim()[1] == pytest.approx(33)
    assert any(np.allclose(line.get_ydata(), 1 / np.e) for line in prtf.lines)
    labels = [text.get_text() for text in frc.get_legend().get_texts()]
    assert labels == ["half bit", "full period 48 nm (median)"]


def test_resolution_takes_a_frequency_axis_an_energy_and_no_prtf(specimen: Specimen, found: ReconstructionQuality) -> None:
    assert found.frequency_per_m is not None
    stretched = found.frequency_per_m * np.linspace(1, 1.02, specimen.energy_ev.size)[:, None]
    unresolved = np.full(specimen.energy_ev.size, np.nan)
    axes = panels(
        resolution(specimen, replace(found, prtf=None, frequency_per_m=stretched, resolution_m=unresolved, half_bit=None))
    )[0]
    assert axes.get_ylabel() == "FRC"
    assert axes.lines[-1].get_xdata()[-1] == pytest.approx(33 * 1.02)


def test_probe_shows_both_ends_of_the_range_on_one_scale(specimen: Specimen, found: ReconstructionQuality) -> None:
    assert found.probe is not None
    drawn = [axes for axes in panels(probe(specimen, found)) if axes.images]
    assert len(drawn) == 4
    assert drawn[0].images[0].get_clim() == drawn[2].images[0].get_clim()
    np.testing.assert_allclose(drawn[0].images[0].get_array(), np.abs(found.probe[0, 0]))
    assert np.ma.getmaskarray(drawn[1].images[0].get_array())[0, 0]


def test_a_probe_s_modes_are_told(specimen: Specimen, found: ReconstructionQuality) -> None:
    assert found.probe is not None
    two = np.concatenate([found.probe, 0.5 * found.probe], axis=1)
    axes = panels(probe(specimen, replace(found, probe=two)))[0]
    assert "mode 1 (80 %)" in axes.get_title(loc="left")


def test_a_missing_probe_is_an_error(specimen: Specimen, found: ReconstructionQuality) -> None:
    with pytest.raises(ValueError, match="no probe"):
        probe(specimen, replace(found, probe=None))


def test_the_predicted_phase_stands_beside_the_measured_one_with_the_residual(specimen: Specimen) -> None:
    evidence = specimen.kramers_kronig
    assert evidence is not None
    figure = kramers_kronig(specimen, evidence)
    (measured, predicted), (residual,) = (axes.lines for axes in panels(figure))
    np.testing.assert_allclose(measured.get_ydata(), evidence.measured)
    np.testing.assert_allclose(predicted.get_ydata(), evidence.predicted)
    np.testing.assert_allclose(residual.get_ydata(), evidence.residual)
    assert "slope over all pixels 0.98" in panels(figure)[0].get_legend().get_title().get_text()


@pytest.mark.parametrize(
    ("n_limited", "text"),
    [
        (40, "full period 30 nm, limited by the pixel"),
        (3, "full period 48 nm (median); limited by the pixel at 3 of 40 energies"),
    ],
)
def test_a_curve_that_never_crosses_is_limited_by_the_pixel(
    specimen: Specimen, found: ReconstructionQuality, n_limited: int, text: str
) -> None:
    periods = np.full(specimen.energy_ev.size, 48e-9)
    periods[:n_limited] = 1 / 33e6
    frc = panels(resolution(specimen, replace(found, resolution_m=periods)))[1]
    assert text in [entry.get_text() for entry in frc.get_legend().get_texts()]
