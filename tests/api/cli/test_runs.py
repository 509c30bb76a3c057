"""Commands about what a service has, against a service behind a real server."""

import dataclasses
import json
import webbrowser
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
from command_line import run as run_command
from typer.testing import CliRunner

from api.cli.main import app
from api.cli.runs import path_of, show_a_run

Ptyxas = Callable[..., tuple[int, str]]


@pytest.fixture
def ptyxas(client: httpx.Client) -> Ptyxas:
    """Calls the command against the service of the test: its exit code and what it printed."""

    return partial(run_command, PTYXAS_URL=str(client.base_url))


def test_lists_are_tables_that_a_pipe_can_read(ptyxas: Ptyxas, run: dict[str, Any], dataset: dict[str, Any]) -> None:
    code, shown = ptyxas("runs")
    rows = [line.split("\t") for line in shown.splitlines()]
    assert (code, rows[0][:3], rows[1][:3]) == (0, ["id", "state", "done"], [run["id"], "queued", "0%"])
    code, shown = ptyxas("datasets")
    rows = [line.split("\t") for line in shown.splitlines()]
    assert (code, rows[1][:4]) == (0, [dataset["id"], "open", "particle 1", "LiVO2"])
    assert ptyxas("runs")[1].splitlines()[1].split("\t")[3] == "2024-05-01 12:00:00"
    for command in ("runs", "datasets"):
        code, shown = ptyxas(command, "--json")
        assert (code, json.loads(shown)[0]["id"]) == (0, run["id"] if command == "runs" else dataset["id"])


def test_lists_fit_into_a_terminal_of_80_columns(ptyxas: Ptyxas, run: dict[str, Any], dataset: dict[str, Any]) -> None:
    for command, words in (("runs", (run["id"], "2024-05-01 12:00:00")), ("datasets", (dataset["id"], "as prepared", "LiVO2"))):
        code, shown = ptyxas(command, TTY_COMPATIBLE="1", COLUMNS="80")
        lines = click.unstyle(shown).splitlines()
        assert code == 0
        assert max(map(len, lines)) <= 80
        assert [word for word in words if not any(word in line for line in lines)] == []
        assert "none found" in ptyxas(command, "--search", "nowhere", TTY_COMPATIBLE="1")[1]


def test_an_error_leaves_the_output_of_a_pipe_empty(client: httpx.Client) -> None:
    done = CliRunner().invoke(app, ["show", "run_none"], env={"PTYXAS_URL": str(client.base_url)})
    assert (done.exit_code, done.stdout, "no run run_none" in done.stderr) == (1, "", True)


def test_a_run_is_started_on_what_is_there_with_options_of_a_file_and_of_the_line(
    ptyxas: Ptyxas, dataset: dict[str, Any], client: httpx.Client, tmp_path: Path
) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[domains]\nn_domains = 3\nseed = 7\n[reconstruct]\ncycles = 50\n")
    code, shown = ptyxas("run", dataset["id"], "--options", str(file), "-o", "domains.n_domains=4", "--name", "k", "--json")
    assert code == 0, shown
    submitted = json.loads(shown)
    assert submitted["name"] == "k"
    assert (submitted["options"]["domains"]["n_domains"], submitted["options"]["domains"]["seed"]) == (4, 7)
    assert submitted["options"]["reconstruct"]["cycles"] == 50
    assert client.get(f"/api/v1/runs/{submitted['id']}").json()["datasets"] == [dataset["id"]]


def test_a_run_is_started_like_another_but_for_some_options(ptyxas: Ptyxas, dataset: dict[str, Any]) -> None:
    first = json.loads(ptyxas("run", dataset["id"], "-o", "reconstruct.cycles=50", "-o", "domains.seed=7", "--json")[1])
    code, shown = ptyxas("run", "--like", first["id"], "-o", "domains.n_domains=4", "--json")
    assert code == 0, shown
    other = json.loads(shown)
    assert other["datasets"] == first["datasets"]
    assert other["options"] == {**first["options"], "domains": {**first["options"]["domains"], "n_domains": 4}}
    code, shown = ptyxas("run", "--like", first["id"], "-o", "preset=paper", "--json")
    assert json.loads(shown)["options"]["reconstruct"]["cycles"] == 800
    code, shown = ptyxas("run")
    assert (code, "name a dataset, or a run by --like" in shown) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-o", "domains.n_domains=99"], 2, "domains.n_domains"),
        (["-o", "domains.n_clusters=3"], 2, "domains.n_clusters"),
        (["-o", "cycles=3"], 1, "stage.name=value"),
        (["--options", "FILE"], 1, "must hold a table for each stage"),
        (["--options", "nowhere.toml"], 2, "nowhere.toml"),
    ],
)
def test_wrong_options_are_refused_before_a_run_is_made(
    ptyxas: Ptyxas, dataset: dict[str, Any], client: httpx.Client, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "run.toml").write_text("cycles = 3\n")
    given = [str(tmp_path / "run.toml") if one == "FILE" else one for one in arguments]
    found, shown = ptyxas("run", dataset["id"], *given)
    assert (found, words in shown) == (code, True), shown
    assert client.get("/api/v1/runs").json()["items"] == []


def test_runs_and_datasets_are_shown_with_their_warnings(ptyxas: Ptyxas, run: dict[str, Any], dataset: dict[str, Any]) -> None:
    code, shown = ptyxas("show", run["id"])
    assert code == 0
    assert "reconstruct\twaiting\t0/4" in shown
    code, shown = ptyxas("show", dataset["id"])
    assert code == 0
    assert "assumed: KB mirrors, 300 nm, in focus" in shown
    assert "a.cxi\t5420.0" in shown
    for item in (run, dataset):
        assert json.loads(ptyxas("show", item["id"], "--json")[1])["id"] == item["id"]


@pytest.mark.parametrize(("seconds", "shown"), [(163, ", took 0:02:43"), (-32400, "")])
def test_a_run_tells_how_long_it_took_unless_the_clock_was_put_back(
    capsys: pytest.CaptureFixture[str], run: dict[str, Any], seconds: float, shown: str
) -> None:
    started = datetime(2026, 11, 27, 19, 39, tzinfo=UTC)
    show_a_run(run | {"started": started.isoformat(), "finished": (started + timedelta(seconds=seconds)).isoformat()})
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("created"))
    assert line.endswith(f"UTC{shown}")


def test_a_run_is_cancelled_tried_again_and_deleted(ptyxas: Ptyxas, run: dict[str, Any], dataset: dict[str, Any]) -> None:
    assert ptyxas("cancel", run["id"]) == (0, f"{run['id']} cancelled\n")
    assert ptyxas("cancel", run["id"])[0] == 1
    assert ptyxas("retry", run["id"]) == (0, f"{run['id']} queued\n")
    assert ptyxas("delete", run["id"], typed="n\n")[0] == 1
    assert ptyxas("show", run["id"])[0] == 0
    assert ptyxas("delete", run["id"], dataset["id"], "--yes")[0] == 0
    for gone in (run["id"], dataset["id"]):
        code, shown = ptyxas("show", gone)
        assert (code, f"no {'run' if gone == run['id'] else 'dataset'} {gone}" in shown) == (1, True)


@pytest.mark.parametrize("item", ["particle", "run", "ds", "run_1/../../x", "ds_\x1b[2J", ""])
def test_what_is_no_id_is_told_so_without_a_request(ptyxas: Ptyxas, item: str) -> None:
    with pytest.raises(ValueError, match="an id begins with run_ or ds_"):
        path_of(item)
    code, shown = ptyxas("show", item)
    assert code == 1
    assert "\x1b[2J" not in shown


def test_the_page_of_a_run_is_opened(ptyxas: Ptyxas, run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    code, shown = ptyxas("open", run["id"])
    assert (code, shown.strip()) == (0, opened[0])
    assert opened[0].endswith(f"/?run={run['id']}")


def test_control_characters_of_names_are_shown_by_their_escapes(
    ptyxas: Ptyxas, service: Any, run: dict[str, Any], dataset: dict[str, Any]
) -> None:
    service.runs.views[run["id"]] = dataclasses.replace(
        service.runs.views[run["id"]], name="a\x1b[2Jb\tc\u202e", error="\x1b]0;x\x07"
    )
    view = service.datasets.views[dataset["id"]]
    service.datasets.views[dataset["id"]] = dataclasses.replace(view, title="a\x1b[2J\r")
    for arguments in (["runs"], ["show", run["id"]], ["datasets"], ["show", dataset["id"]], ["runs", "--json"]):
        code, shown = ptyxas(*arguments)
        assert code == 0
        assert not {"\x1b", "\x07", "\r", "\u202e"} & set(shown), arguments
