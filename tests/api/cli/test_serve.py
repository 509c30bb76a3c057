"""The command serve, as far as it refuses to serve."""

from pathlib import Path

from typer.testing import CliRunner

from api.cli.main import app


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["serve", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})
    return done.exit_code, done.output


def test_serving_a_network_without_keys_is_refused(tmp_path: Path) -> None:
    code, shown = run("--host", "0.0.0.0", "--data_dir", str(tmp_path))
    assert code == 2
    assert "api_keys_file" in shown


def test_a_keys_file_that_is_not_there_is_told_as_a_sentence(tmp_path: Path) -> None:
    code, shown = run("--api-keys-file", str(tmp_path / "none"), "--data-dir", str(tmp_path / "data"))
    assert code == 1
    assert "No such file" in shown
    assert "Traceback" not in shown
