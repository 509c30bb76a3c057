"""CSV tables, read by pandas."""

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from published import write_published

from storage.exports.source import Source
from storage.exports.spectra import area_spectra
from storage.results import ResultsStore
from tasks.areas import mean_spectrum


def table(path: Path, name: str) -> pd.DataFrame:
    with zipfile.ZipFile(path) as archive:
        return pd.read_csv(BytesIO(archive.read(name)))


def test_spectra_are_means_over_the_specimen_and_its_domains(exported: dict[str, Path], one: Source) -> None:
    found = table(exported["csv"], "ds_a/spectra.csv")
    images, label = one.read("ds_a/spectra", "absorption"), one.read("ds_a/domains", "label")
    np.testing.assert_allclose(found["domain-2 absorption"], images[:, label == 2].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found["energy [eV]"], one.read("ds_a/spectra", "energy"))
    n_pixels = np.count_nonzero(one.read("ds_a/maps", "mask"))
    np.testing.assert_allclose(found["specimen absorption error"], 0.002 / np.sqrt(n_pixels), rtol=1e-6)
    np.testing.assert_allclose(found["specimen phase [rad]"], -0.9, atol=0.01)


def test_errors_count_what_neighbouring_pixels_share(tmp_path: Path) -> None:
    """As the page and the figures do."""
    write_published(tmp_path / "results.zarr", ["ds_a"], (12, 15), n_energies=5, blur_px=0.7)
    source = Source(ResultsStore(tmp_path / "results.zarr"), "run_1", ["ds_a"])
    for spectrum in area_spectra(source, "ds_a"):
        number = spectrum.name.removeprefix("domain-")
        inside = source.read("ds_a/maps", "mask") if number == "specimen" else source.read("ds_a/domains", "label") == int(number)
        images = source.read("ds_a/spectra", "absorption")
        expected = mean_spectrum(images, np.full(5, 0.002), inside, 0.7)[1]
        np.testing.assert_allclose(spectrum.sigma, expected, rtol=1e-6)
        assert (spectrum.sigma > 1.5 * 0.002 / np.sqrt(spectrum.n_pixels)).all()


def test_domains_and_their_shares(exported: dict[str, Path]) -> None:
    domains, fractions = (table(exported["csv"], name) for name in ("domains.csv", "fractions.csv"))
    assert domains["edge_energy"].tolist() == [5476.5, 5479.5]
    assert fractions["name"].tolist() == ["ds_a", "ds_a", "g", "g"], "the other dataset was not asked for"
    assert fractions["share of the absorber atoms"].tolist() == [0.25, 0.75, 0.25, 0.75]
    assert fractions["upper"].isna().tolist() == [False, False, True, True], "intervals that were not computed are empty"
