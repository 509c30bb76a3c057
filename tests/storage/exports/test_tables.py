"""CSV tables, read by pandas."""

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from storage.exports.source import Source


def table(path: Path, name: str) -> pd.DataFrame:
    with zipfile.ZipFile(path) as archive:
        return pd.read_csv(BytesIO(archive.read(name)))


def test_spectra_are_those_of_the_specimen_and_its_domains(exported: dict[str, Path], one: Source) -> None:
    found = table(exported["csv"], "ds_a/spectra.csv")
    np.testing.assert_array_equal(found["energy [eV]"], one.read("ds_a/spectra", "energy"))
    for spectrum in one.spectra["ds_a"]:
        np.testing.assert_array_equal(found[f"{spectrum.name} absorption"], spectrum.absorption)
        np.testing.assert_array_equal(found[f"{spectrum.name} absorption error"], spectrum.sigma)
        np.testing.assert_array_equal(found[f"{spectrum.name} phase [rad]"], spectrum.phase)
    assert len(found.columns) == 1 + 3 * 3


def test_domains_and_their_shares(exported: dict[str, Path]) -> None:
    domains, fractions = (table(exported["csv"], name) for name in ("domains.csv", "fractions.csv"))
    assert domains["edge_energy"].tolist() == [5476.5, 5479.5]
    assert fractions["name"].tolist() == ["ds_a", "ds_a", "g", "g"], "the other dataset was not asked for"
    assert fractions["share of the absorber atoms"].tolist() == [0.25, 0.75, 0.25, 0.75]
    assert fractions["upper"].isna().tolist() == [False, False, True, True], "intervals that were not computed are empty"
