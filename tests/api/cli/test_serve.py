"""The command serve, as far as it refuses to serve."""

from pathlib import Path

import pytest
from command_line import run

from api.cli.serve import read_settings


def test_serving_a_network_without_keys_is_refused(tmp_path: Path) -> None:
    code, shown = run("serve", "--host", "0.0.0.0", "--data_dir", str(tmp_path))
    assert code == 2
    assert "api_keys_file" in shown


def test_a_keys_file_that_is_not_there_is_told_as_a_sentence(tmp_path: Path) -> None:
    code, shown = run("serve", "--api-keys-file", str(tmp_path / "none"), "--data-dir", str(tmp_path / "data"))
    assert code == 1
    assert "No such file" in shown
    assert "Traceback" not in shown


def test_settings_come_from_a_file_unless_the_environment_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('port = 0\nregister_roots = ["/data"]\nlog_level = "info"\n')
    monkeypatch.setenv("PTYXAS_LOG_LEVEL", "error")
    assert read_settings(file) == {"port": 0, "register_roots": ["/data"]}


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("port = [", 1, "no TOML file of settings"),
        ("\udcff", 1, "no TOML file of settings"),
        ("prot = 8000", 2, "prot: Extra inputs are not permitted"),
        ("[port]\nnumber = 8000", 2, "port: Input should be a valid integer"),
        ('host = "0.0.0.0"', 2, "api_keys_file"),
    ],
)
def test_a_wrong_settings_file_is_told_as_a_sentence(tmp_path: Path, text: str, code: int, told: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    found, shown = run("serve", "--settings", str(file), "--data-dir", str(tmp_path / "data"))
    assert (found, told in shown) == (code, True), shown


def test_a_flag_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('host = "127.0.0.1"\n')
    assert run("serve", "--settings", str(file), "--host", "0.0.0.0")[0] == 2
    assert run("serve", "--settings", str(tmp_path / "none.toml"))[0] == 1
