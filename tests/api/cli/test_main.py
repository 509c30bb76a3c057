"""The command ``ptyxas`` as a whole: its help, its version, and what it imports."""

import errno
import subprocess
import sys
from importlib import import_module

import pytest
import typer
from command_line import run

from api.cli.main import COMMANDS
from api.cli.terminal import plain_errors

GROUPS = ("keys", "certs")
"""Commands that have commands of their own."""


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_command(flag: str) -> None:
    code, shown = run(flag)
    assert code == 0
    for name, (_, text) in COMMANDS.items():
        assert name in shown
        assert text in " ".join(shown.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_list_says(name: str) -> None:
    group = typer.main.get_group(import_module(COMMANDS[name][0]).commands)
    assert name in GROUPS or name in group.commands
    code, shown = run(name, "-h")
    assert code == 0
    assert "Usage" in shown


def test_every_command_of_a_module_is_listed() -> None:
    for module in {module for module, _ in COMMANDS.values()} - {COMMANDS[name][0] for name in GROUPS}:
        names = set(typer.main.get_group(import_module(module).commands).commands)
        assert names == {name for name, (listed, _) in COMMANDS.items() if listed == module}


def test_the_version_is_told() -> None:
    code, shown = run("--version")
    assert code == 0
    assert shown.startswith("ptyxas ")


def test_a_misspelt_command_gets_the_nearest_name() -> None:
    code, shown = run("sevre")
    assert code == 2
    assert "serve" in shown


LIGHT = """
import sys
from typer.testing import CliRunner
from api.cli.main import app
assert CliRunner().invoke(app, sys.argv[1:]).exit_code == 0
print(*sorted({"numpy", "jax", "numba", "zarr", "dask", "distributed", "fastapi", "sqlalchemy", "scipy"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["submit", "-h"], ["run", "-h"], ["results", "-h"]], ids=" ".join
)
def test_commands_that_talk_to_a_service_import_no_numerics(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_the_entry_point_imports_nothing_before_it_is_called() -> None:
    """Each process that parses an upload imports its parent's main script again."""
    command = "import sys, api.cli.__main__; print('typer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout == "False\n"


def test_help_can_be_had_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "api.cli", "--version"], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.startswith("ptyxas ")


@pytest.mark.parametrize("command", ["options", "--version"])
def test_output_that_cannot_be_written_is_a_sentence(command: str) -> None:
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "api.cli", command], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith("the output cannot be written: ")
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_reader_that_has_what_it_wants_ends_a_command_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokenPipeError), plain_errors():  # which `api.cli.__main__` knows
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(typer.Exit), plain_errors():
        raise FileNotFoundError("no such file")
    assert "no such file" in capfd.readouterr().err
