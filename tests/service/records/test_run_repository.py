"""Rows of runs as views; one that is damaged is shown as such, and hides no other."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.records.run_repository import RunRepository
from service.records.views import StageView
from storage.catalogue.catalogue import Catalogue
from tasks.options.run import RunOptions

DAMAGE = {
    "options cut": ("options", "{"),
    "options of another kind": ("options", "[1]"),
    "datasets no list": ("datasets", "5"),
    "datasets no texts": ("datasets", "[{}]"),
    "stages of another kind": ("stages", '{"a": 1}'),
    "stages of unknown fields": ("stages", '[{"stage": "fit"}]'),
    "no time": ("created", "yesterday"),
    "no such time": ("started", 1e300),
    "no such state": ("state", "lost"),
    "no number": ("progress", "half"),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue's file, which can be damaged behind its back."""
    return tmp_path_factory.mktemp("catalogue") / "catalogue.sqlite"


@pytest.fixture(scope="module")
def repository(path: Path) -> Iterator[RunRepository]:
    """Runs of that catalogue."""
    catalogue = Catalogue(f"sqlite:///{path}")
    yield RunRepository(catalogue)
    catalogue.close()


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_row_is_shown_as_such_and_hides_no_other(repository: RunRepository, path: Path, kind: str) -> None:
    column, content = DAMAGE[kind]
    broken, whole = f"run_{list(DAMAGE).index(kind)}_broken", f"run_{list(DAMAGE).index(kind)}_whole"
    for run_id in (broken, whole):
        repository.open_run(run_id, run_id, ["ds_a"], RunOptions())
    before = repository.view(whole)
    with sqlite3.connect(path) as database:
        database.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", [content, broken])
    shown = {view.id: view for view in repository.page(None).items}
    assert shown[whole] == before
    assert f"row of the catalogue is damaged: its {column} cannot be read" in (shown[broken].error or "")
    assert whole in [record.id for record in repository.unfinished_runs()]
    repository.end_run(broken, "cancelled", None)
    repository.delete(broken)
    assert repository.view(broken) is None


def test_progress_is_a_row_and_an_event_a_hundredth(repository: RunRepository) -> None:
    repository.open_run("run_long", "long", ["ds_a"], RunOptions())
    for number in range(401):
        repository.write_progress("run_long", number / 4000, 10.0, [StageView("fit", number, 4000, "running")])
    view = repository.view("run_long")
    assert view is not None
    assert (view.progress, view.stages[0].done) == (0.1, 400)
    told = [event.data for event in repository.events("run_long", 0) if event.kind == "progress"]
    assert len(told) == 11
    repository.write_progress("run_long", 0.1, 10.0, [StageView("fit", 400, 4000, "stopped")])
    last = repository.events("run_long", 0)[-1]
    assert (last.kind, last.data["stages"][0]["state"]) == ("progress", "stopped")


@pytest.mark.parametrize("data", ["[", "[1]", '{"text": 5}', "{}", "null"])
def test_a_damaged_event_is_no_note(repository: RunRepository, path: Path, data: str) -> None:
    run_id = f"run_event_{data.encode().hex()}"
    repository.open_run(run_id, run_id, ["ds_a"], RunOptions())
    for text in ("first", "second"):
        repository.add_event(run_id, "note", {"text": text})
    with sqlite3.connect(path) as database:
        database.execute("UPDATE events SET data = ? WHERE run_id = ? AND data LIKE '%first%'", [data, run_id])
    assert repository.warnings(run_id) == {"second"}
