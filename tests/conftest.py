"""Fixtures that tests of several packages share: files of measurements, real or simulated, and a particle of two oxides."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from measurements import measurement
from oxides import OXYGEN_ATOMS, OxideMixture, measure_oxides


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one file, and all tests of the service that they share (``lab``), go to one process of ``pytest -n``."""
    for item in items:
        fixtures = item.fixturenames if isinstance(item, pytest.Function) else ()
        item.add_marker(pytest.mark.xdist_group("lab" if "lab" in fixtures else str(item.path.relative_to(item.config.rootpath))))


@pytest.fixture(scope="session")
def measured_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of a measurement by the name of its file: the real one where it is present, else one simulated in its place."""
    return partial(measurement, folder=tmp_path_factory.mktemp("measurements"))


@pytest.fixture(scope="session")
def oxide_mixture(measured_file: Callable[[str], Path]) -> Callable[..., OxideMixture]:
    """Measures the particle of two oxides as `SimulationOptions` say."""
    return partial(measure_oxides, tuple(measured_file(f"{name}.xdi").read_text(encoding="utf-8") for name in OXYGEN_ATOMS))
