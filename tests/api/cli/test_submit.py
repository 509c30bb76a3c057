"""submit and watch, as far as they need no service."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli.main import app
from api.cli.submit import options_of, read_probe, with_compounds
from tasks.scattering import Absorber


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "TERM": "dumb"})
    return done.exit_code, done.output


def test_options_of_the_command_line() -> None:
    given = ["reconstruct.cycles=300", "kkr.mode=off", "reconstruct.alpha=0.9", 'domains.descriptors=["edge_energy"]']
    assert options_of(given) == {
        "reconstruct": {"cycles": 300, "alpha": 0.9},
        "kkr": {"mode": "off"},
        "domains": {"descriptors": ["edge_energy"]},
    }
    with pytest.raises(ValueError, match=r"stage\.name=value"):
        options_of(["cycles=3"])


def test_a_probe_is_read_from_json() -> None:
    assert read_probe('{"kind": "kb", "fwhm_m": 3e-7}') == {"kind": "kb", "fwhm_m": 3e-7}


@pytest.mark.parametrize("probe", ["{kind: kb}", "kb", "[1]", '"kb"', "3", '{"kind": "kb"'])
def test_a_probe_that_is_no_json_object_is_told_as_a_sentence(tmp_path: Path, probe: str) -> None:
    (tmp_path / "a.cxi").write_bytes(b"x")
    code, shown = run("submit", str(tmp_path / "a.cxi"), "--formula", "LiVO2", "--probe", probe, "--url", "http://127.0.0.1:9")
    assert code == 1
    assert "--probe must be a JSON object" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("command", [["watch", "run_1"], ["submit", "FILE", "--formula", "LiVO2"]])
def test_a_service_that_does_not_answer_is_told_as_a_sentence(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "a.cxi").write_bytes(b"x")
    arguments = [str(tmp_path / "a.cxi") if word == "FILE" else word for word in command]
    code, shown = run(*arguments, "--url", "http://127.0.0.1:9")
    assert code == 1
    assert "no service answers at http://127.0.0.1:9" in shown
    assert "Traceback" not in shown


def test_files_of_known_compounds_become_options(tmp_path: Path) -> None:
    energy = np.arange(5400.0, 5600.0, 0.5)
    rise = 1 / (1 + np.exp(-(energy - 5461.0) / 1.5))
    head = "#XDI/1.0\n# Column.1: energy eV\n# Column.2: mutrans\n#---\n"
    foil = tmp_path / "foil.xdi"
    foil.write_text(head + "\n".join(f"{e} {mu}" for e, mu in zip(energy, rise, strict=True)))
    options = with_compounds({"fit": {}}, Absorber(), [foil], foil)
    assert options["align"]["energy_offset_ev"] == pytest.approx(Absorber().edge_energy_ev - 5461.0, abs=0.1)
    assert options["references"]["xdi"] == [foil.read_text()]
    assert "chemistry" not in options
    assert with_compounds({}, Absorber("Fe"), [], None) == {"chemistry": {"preset": "chantler"}}
    assert with_compounds({"chemistry": {"preset": "paper"}}, Absorber("Mn"), [], None)["chemistry"]["preset"] == "paper"
