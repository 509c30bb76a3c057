"""Spectra of exports are means over the specimen and its domains, with the errors that the page and the figures state."""

from pathlib import Path

import numpy as np
import pytest
from published import SIGMA_ABSORPTION, write_published

from service.results.mean_spectra import mean_spectra
from storage.exports.source import Source
from storage.results import ResultsStore
from tasks.areas import mean_spectrum
from tasks.xanes.uncertainty.neighbours import blurred


@pytest.mark.parametrize("blur_px", [0.0, 0.7])
def test_spectra_are_means_over_the_specimen_and_its_domains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blur_px: float
) -> None:
    write_published(tmp_path / "results.zarr", ["ds_a"], (12, 15), n_energies=5, blur_px=blur_px)
    source = Source(ResultsStore(tmp_path / "results.zarr"), "run_1", ["ds_a"])
    monkeypatch.setattr("storage.exports.source.BLOCK_BYTES", 1)  # one image at a time
    areas = {"specimen": source.read("ds_a/maps", "mask")}
    areas |= {f"domain-{number}": source.read("ds_a/domains", "label") == number for number in (1, 2)}
    found = mean_spectra(source, "ds_a")
    assert [spectrum.name for spectrum in found] == list(areas)
    for spectrum, inside in zip(found, areas.values(), strict=True):
        images = source.read("ds_a/spectra", "absorption")
        mean, sigma = mean_spectrum(images, np.full(5, SIGMA_ABSORPTION, np.float32), inside, blurred(blur_px))
        np.testing.assert_allclose(spectrum.absorption, mean, rtol=1e-12)
        np.testing.assert_allclose(spectrum.sigma, sigma, rtol=1e-12)
        np.testing.assert_allclose(spectrum.phase, -0.9, atol=0.01)  # type: ignore[arg-type]
        assert spectrum.n_pixels == np.count_nonzero(inside)
        assert (spectrum.sigma > (1.5 if blur_px else 0.99) * SIGMA_ABSORPTION / np.sqrt(spectrum.n_pixels)).all()
