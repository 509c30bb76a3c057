"""The benchmarks of the service understand what it answers; what they measure does not matter here."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from lab import Job, Lab
from limit import Measurement, fisher_information


@pytest.fixture
def bench_service(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs the benchmark of the service on the one that tests share, with flags."""

    @contextmanager
    def serving(_: Path) -> Iterator[tuple[str, int]]:
        yield lab.client.url, lab.serving.process.pid

    def run(*flags: str) -> None:
        program = importlib.import_module("bench_service")
        monkeypatch.setattr(program, "serving", serving)
        monkeypatch.setattr(sys, "argv", ["bench_service", *flags])
        program.main()

    return run


def test_clients_beside_a_run_and_a_large_upload(bench_service: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench_service("--calls", "50", "--clients", "3", "--seconds", "2", "--mebibytes", "4")
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    assert re.search(r"a status call: \d+\.\d\d ms of the service's processor time", said)
    assert int(re.findall(r"run running: (\d+) status calls", said)[0]) >= 3 * 8
    assert "errors and lost uploads: 0" in said
    assert re.search(r"PUT \d+ MiB/s", said)


def test_what_a_run_spends_outside_its_kernels(main_job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    program = importlib.import_module("bench_overhead")
    program.show(program.account(main_job.events, 2))
    said = capsys.readouterr().out
    parts = re.findall(r"(kernels|storage|between|start|barriers) +(-?[\d.]+) s", said)
    wall = float(re.findall(r"steps in ([\d.]+) s", said)[0])
    assert sum(float(seconds) for _, seconds in parts) == pytest.approx(2 * wall, abs=0.2)
    assert all(float(seconds) >= 0 for name, seconds in parts if name != "between"), said
    assert re.search(r"outside kernels: [\d.]+%", said)


@pytest.fixture(scope="module")
def tiny() -> Measurement:
    """Nine frames of 8 x 8 of a random object, every pixel of the detector good."""
    rng = np.random.default_rng(0)
    wave = rng.normal(size=(2, 8, 8)) @ np.diag(np.hanning(10)[1:-1])
    corners = np.stack(np.meshgrid([0, 2, 4], [0, 2, 4], indexing="ij"), axis=-1).reshape(-1, 2)
    object_ = np.exp(-rng.uniform(0, 0.2, (12, 12)) - 1j * rng.uniform(0, 1, (12, 12)))
    return Measurement(object_, 30 * (wave[0] + 1j * wave[1]), corners, np.zeros((9, 2)), np.ones((8, 8), bool))


def test_every_photon_through_a_pixel_tells_of_its_absorption_or_of_its_phase(tiny: Measurement) -> None:
    """With the probe known, both add up to four times the photons: |dpsi/dA|^2 = |dpsi/dphi|^2 = |P O|^2."""
    information = np.diag(fisher_information(tiny))[: 2 * 144].reshape(2, 12, 12)
    photons = np.zeros((12, 12))
    for row, column in tiny.corners:
        patch = tiny.object[row : row + 8, column : column + 8]
        photons[row : row + 8, column : column + 8] += np.abs(tiny.probe * patch) ** 2
    np.testing.assert_allclose(information.sum(axis=0), 4 * photons, rtol=1e-9)


def test_what_no_pattern_shows_has_no_information(tiny: Measurement) -> None:
    information, probe = fisher_information(tiny), tiny.probe.ravel()
    nothing, everywhere = np.zeros(144), np.ones(144)
    absorbed = np.concatenate([everywhere, nothing, probe.real, probe.imag])
    turned = np.concatenate([nothing, everywhere, probe.imag, -probe.real])
    probe_turned = np.concatenate([nothing, nothing, -probe.imag, probe.real])
    for direction in (absorbed, turned, probe_turned):
        assert direction @ information @ direction < 1e-9 * np.trace(information)
