"""simulate and plan."""

import json
from pathlib import Path

import pytest
from command_line import run

from api.cli.simulate import measure
from storage.readers.format import open_scan
from tasks.simulation.specimen import SimulationOptions


def test_a_specimen_is_measured_into_files_that_the_service_reads(tmp_path: Path) -> None:
    size = ["--n-energies", "2", "--n-positions-side", "3", "--n-pixels", "24"]
    code, shown = run("simulate", str(tmp_path / "scans"), *size)
    assert code == 0
    assert "ptyxas submit" in shown
    files = sorted((tmp_path / "scans").iterdir())
    assert len(files) == 2
    with open_scan(files[0]) as [source]:
        assert source.frames is not None
        assert source.frames.shape == (9, 24, 24)


def test_counts_are_forgotten_once_they_are_written(tmp_path: Path) -> None:
    """A view of none of the counts would keep all of them, 11 GB of a particle of the paper's size."""
    measured = measure(SimulationOptions(n_energies=2, n_positions_side=3, n_pixels=24), tmp_path / "scans")
    assert all(len(scan.counts) == 0 and scan.counts.base is None for scan in measured.simulation.scans)


def test_a_plan_is_printed_as_a_table_as_json_and_as_a_figure(tmp_path: Path) -> None:
    wanted = ["plan", "--element", "Mn", "--energies", "11", "--step-ev", "4", "--descriptors", "edge_energy", "--dose", "split"]
    code, shown = run(*wanted, "--json", "--figure", str(tmp_path / "plan.png"))
    assert code == 0
    plan = json.loads(shown)
    assert len(plan["energies_ev"]) == 11
    assert sum(plan["photon_shares"]) == pytest.approx(1, abs=1e-3)
    assert plan["options"]["descriptors"] == ["edge_energy"]
    assert set(plan["expected_errors"]) == {"edge_energy_ev", "pre_edge_ratio_ev", "edge_jump", "electron_ratio"}
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
    code, shown = run(*wanted)
    assert code == 0
    assert f"{plan['energies_ev'][3]:.2f}" in shown
    assert "edge energy, eV" in shown
    assert "electrons rms on these energies: too much for the constraint" in " ".join(shown.split())


def test_a_plan_that_cannot_be_is_refused_as_a_sentence() -> None:
    refused = (
        (["--energies", "5"], "greater than or equal to 10"),
        (["--formula", "LiFeO2"], "must contain the absorber"),
        (["--energies", "10", "--figure", "/nowhere/plan.png"], "No such file or directory"),
    )
    for words, message in refused:
        code, shown = run("plan", *words)
        assert code != 0
        assert message in shown
        assert "Traceback" not in shown
