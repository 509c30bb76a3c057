"""The command line, as far as it needs no service."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import app, options_of
from storage.readers.format import open_scan


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "TERM": "dumb"})
    return done.exit_code, done.output


def test_help_names_every_command() -> None:
    code, shown = run("--help")
    assert code == 0
    for command in ("serve", "submit", "watch", "simulate", "demo", "options", "keys", "gc", "verify", "backup"):
        assert command in shown


def test_options_are_listed_with_defaults_and_meaning() -> None:
    _, shown = run("options")
    assert "reconstruct.cycles" in shown
    assert "800" in shown
    assert json.loads(run("options", "--json")[1])["$defs"]["KKROptions"]["properties"]["mode"]["default"] == "joint"


def test_options_of_the_command_line() -> None:
    given = ["reconstruct.cycles=300", "kkr.mode=off", "reconstruct.alpha=0.9", "domains.descriptors=[\"edge_energy\"]"]
    assert options_of(given) == {
        "reconstruct": {"cycles": 300, "alpha": 0.9}, "kkr": {"mode": "off"}, "domains": {"descriptors": ["edge_energy"]},
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
