"""Fixtures that tests of several packages share: files of measurements, real or simulated, and a particle of two oxides."""

import os
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import pytest
from measurements import measurement
from oxides import OXYGEN_ATOMS, OxideMixture, measure_oxides

os.environ["TTY_COMPATIBLE"] = "0"
"""The processes of ``pytest -n`` have FORCE_COLOR set, which makes rich take a pipe for a terminal of 80 columns."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Reports whose captured output can be sent between the processes of ``pytest -n``, half surrogate pairs included."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(scope="session")
def measured_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of a measurement by the name of its file: the real one where it is present, else one simulated in its place."""
    return partial(measurement, folder=tmp_path_factory.mktemp("measurements"))


@pytest.fixture(scope="session")
def oxide_mixture(measured_file: Callable[[str], Path]) -> Callable[..., OxideMixture]:
    """Measures the particle of two oxides as `SimulationOptions` say."""
    return partial(measure_oxides, tuple(measured_file(f"{name}.xdi").read_text(encoding="utf-8") for name in OXYGEN_ATOMS))
