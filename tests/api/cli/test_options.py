"""The command options."""

import json

from command_line import run


def test_options_are_listed_with_default_and_meaning() -> None:
    code, shown = run("options")
    assert code == 0
    assert "reconstruct.cycles" in shown
    assert "auto" in shown


def test_options_are_given_as_json_schema() -> None:
    assert json.loads(run("options", "--json")[1])["$defs"]["KKROptions"]["properties"]["mode"]["default"] == "joint"
