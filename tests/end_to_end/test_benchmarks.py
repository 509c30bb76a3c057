"""The benchmarks of the service run to their end; what they measure does not matter here."""

import importlib
import re
import sys
from collections.abc import Callable

import pytest


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a benchmark by its name, with flags."""

    def run(name: str, *flags: str) -> None:
        monkeypatch.setattr(sys, "argv", [name, *flags])
        importlib.import_module(name).main()

    return run


def test_clients_beside_a_run_and_a_large_upload(bench: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench("bench_service", "--clients", "3", "--seconds", "2", "--mebibytes", "4")
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    assert int(re.findall(r"run running: (\d+) status calls", said)[0]) >= 3 * 8
    assert "errors and lost uploads: 0" in said
    assert re.search(r"PUT \d+ MiB/s", said)


def test_what_a_run_spends_outside_its_kernels(bench: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    bench("bench_overhead", "--energies", "10", "--positions", "8", "--pixels", "48", "--cycles", "20", "--start", "10")
    said = capsys.readouterr().out
    parts = re.findall(r"(kernels|storage|between|start|barriers) +(-?[\d.]+) s", said)
    wall = float(re.findall(r"steps in ([\d.]+) s", said)[0])
    assert sum(float(seconds) for _, seconds in parts) == pytest.approx(wall, abs=0.1)
    assert all(float(seconds) >= 0 for _, seconds in parts), said
    assert re.search(r"outside kernels: [\d.]+%", said)
