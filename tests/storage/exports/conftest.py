"""Published results that are exported, and what their arrays are."""

from pathlib import Path

import numpy as np
import pytest
from published import write_published

from storage.exports.formats import FORMATS
from storage.exports.source import MeanSpectrum, Source
from storage.results import ResultsStore


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> ResultsStore:
    """Results of two datasets of 12 by 15 pixels at 5 energies."""
    path = tmp_path_factory.mktemp("run") / "results.zarr"
    write_published(path, ["ds_a", "ds_b"], (12, 15), n_energies=5)
    return ResultsStore(path)


def source_of_one(store: ResultsStore) -> Source:
    """The first dataset, and spectra of three areas that nothing but their numbers tells apart."""
    energy_ev = store.read("ds_a/spectra", "energy")[0]
    steps = np.arange(energy_ev.size) / 7
    areas = enumerate(("specimen", "domain-1", "domain-2"))
    spectra = [MeanSpectrum(name, 9 - n, energy_ev, n + steps, 0.1 * n + steps, -n - steps) for n, name in areas]
    return Source(store, "run_1", ["ds_a"], {"ds_a": spectra})


@pytest.fixture
def both(store: ResultsStore) -> Source:
    """Both datasets."""
    return Source(store, "run_1", ["ds_a", "ds_b"])


@pytest.fixture
def one(store: ResultsStore) -> Source:
    """The first dataset alone."""
    return source_of_one(store)


@pytest.fixture(scope="session")
def exported(store: ResultsStore, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The first dataset in every format."""
    folder = tmp_path_factory.mktemp("exported")
    for name, form in FORMATS.items():
        form.write(source_of_one(store), folder / name)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FORMATS), "nothing else is left"
    return {name: folder / name for name in FORMATS}
