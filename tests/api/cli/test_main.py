"""The command line, as far as it needs no service."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli.main import app, options_of, with_compounds
from storage.readers.format import open_scan
from tasks.scattering import Absorber


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "TERM": "dumb"})
    return done.exit_code, done.output


def test_help_names_every_command() -> None:
    code, shown = run("--help")
    assert code == 0
    for command in ("serve", "submit", "watch", "simulate", "plan", "demo", "study", "options", "keys", "gc", "verify", "backup"):
        assert command in shown


def test_options_are_listed_with_defaults_and_meaning() -> None:
    _, shown = run("options")
    assert "reconstruct.cycles" in shown
    assert "800" in shown
    assert json.loads(run("options", "--json")[1])["$defs"]["KKROptions"]["properties"]["mode"]["default"] == "joint"


def test_options_of_the_command_line() -> None:
    given = ["reconstruct.cycles=300", "kkr.mode=off", "reconstruct.alpha=0.9", 'domains.descriptors=["edge_energy"]']
    assert options_of(given) == {
        "reconstruct": {"cycles": 300, "alpha": 0.9},
        "kkr": {"mode": "off"},
        "domains": {"descriptors": ["edge_energy"]},
    }
    with pytest.raises(ValueError, match=r"stage\.name=value"):
        options_of(["cycles=3"])


@pytest.mark.parametrize("command", [["watch", "run_1"], ["submit", "FILE", "--formula", "LiVO2"]])
def test_nobody_there_is_said_in_plain_words(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "a.cxi").write_bytes(b"x")
    arguments = [str(tmp_path / "a.cxi") if word == "FILE" else word for word in command]
    code, shown = run(*arguments, "--url", "http://127.0.0.1:9")
    assert code == 1
    assert "no service answers at http://127.0.0.1:9" in shown
    assert "Traceback" not in shown


def test_serving_strangers_without_keys_is_refused(tmp_path: Path) -> None:
    code, shown = run("serve", "--host", "0.0.0.0", "--data_dir", str(tmp_path))
    assert code == 2
    assert "api_keys_file" in shown


def test_a_specimen_is_measured_into_files_that_the_service_reads(tmp_path: Path) -> None:
    size = ["--n-energies", "2", "--n-positions-side", "3", "--n-pixels", "24"]
    code, shown = run("simulate", str(tmp_path / "scans"), *size)
    assert code == 0
    assert "ptyxas submit" in shown
    files = sorted((tmp_path / "scans").iterdir())
    assert len(files) == 2
    with open_scan(files[0]) as [source]:
        assert source.frames.shape == (9, 24, 24)


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


def test_a_plan_is_told_in_words_as_json_and_as_a_figure(tmp_path: Path) -> None:
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
    assert "electrons rms on these energies: too much for the constraint" in shown


def test_a_plan_that_cannot_be_is_refused_in_plain_words() -> None:
    refused = (["--energies", "5"], "greater than or equal to 10"), (["--formula", "LiFeO2"], "must contain the absorber")
    for words, told in refused:
        code, shown = run("plan", *words)
        assert code != 0
        assert told in shown
        assert "Traceback" not in shown
