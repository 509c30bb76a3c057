"""The command options."""

import json

from typer.testing import CliRunner

from api.cli.main import app


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["options", *arguments], env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 0
    return done.output


def test_options_are_listed_with_default_and_meaning() -> None:
    shown = run()
    assert "reconstruct.cycles" in shown
    assert "auto" in shown


def test_options_are_given_as_json_schema() -> None:
    assert json.loads(run("--json"))["$defs"]["KKROptions"]["properties"]["mode"]["default"] == "joint"
