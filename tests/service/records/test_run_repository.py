"""Rows of runs as views; one that is damaged is shown as such, and hides no other."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from service.records import recent_events
from service.records.run_repository import RunRepository
from service.records.views import StageView
from storage.catalogue.catalogue import Catalogue
from storage.catalogue.database import Row
from storage.catalogue.events import NewEvent
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
        repository.add_events(run_id, [NewEvent("note", {"text": text})])
    with sqlite3.connect(path) as database:
        database.execute("UPDATE events SET data = ? WHERE run_id = ? AND data LIKE '%first%'", [data, run_id])
    assert repository.warnings(run_id) == {"second"}


def test_followers_read_what_has_changed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Catalogue(f"sqlite:///{tmp_path}/catalogue.sqlite")) as catalogue:
        repository, read, n_reads = RunRepository(catalogue), catalogue.events.follow, Counter[int]()

        def counted(run_id: str, number: int, limit: int, project: str | None = None) -> tuple[str | None, list[Row]]:
            n_reads[number] += 1
            return read(run_id, number, limit, project)

        monkeypatch.setattr(catalogue.events, "follow", counted)
        repository.open_run("run_1", "one", ["ds_a"], RunOptions())
        [queued] = repository.follow("run_1", 0)[1]
        for _ in range(3):
            assert repository.follow("run_1", queued.id) == ("queued", [])
        assert n_reads[queued.id] == 0
        assert repository.follow("run_1", queued.id, "another project") == (None, [])
        assert [event.id for event in repository.follow("run_1", 0)[1]] == [queued.id]

        repository.begin_run("run_1")
        [told] = repository.follow("run_1", queued.id)[1]
        for text in ("one", "two"):
            assert repository.follow("run_1", told.id) == ("running", [])
            repository.add_events("run_1", [NewEvent("note", {"text": text})])
            [told] = repository.follow("run_1", told.id)[1]
            assert told.data == {"text": text}
        assert repository.follow("run_1", told.id) == ("running", [])
        repository.write_progress("run_1", 0.5, 1.0, [StageView("fit", 1, 2, "running")])
        state, [progress] = repository.follow("run_1", told.id)
        assert (state, progress.kind) == ("running", "progress")
        assert repository.follow("run_1", progress.id) == ("running", [])
        repository.end_run("run_1", "failed", "no")
        for _ in range(2):
            state, [ended] = repository.follow("run_1", progress.id)
            assert (state, ended.data["state"]) == ("failed", "failed")
        repository.reopen_run("run_1")
        assert repository.follow("run_1", ended.id)[0] == "queued"
        repository.end_run("run_1", "cancelled", None)
        repository.delete("run_1")
        assert repository.follow("run_1", ended.id) == (None, [])


def test_what_another_process_writes_is_seen_before_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/catalogue.sqlite"
    with closing(Catalogue(url)) as ours, closing(Catalogue(url)) as theirs:
        repository = RunRepository(ours)
        repository.open_run("run_1", "one", ["ds_a"], RunOptions())
        [queued] = repository.follow("run_1", 0)[1]
        assert repository.follow("run_1", queued.id) == ("queued", [])
        RunRepository(theirs).end_run("run_1", "cancelled", None)
        assert repository.follow("run_1", queued.id) == ("queued", [])
        monkeypatch.setattr(recent_events, "REREAD_S", 0.0)
        assert repository.follow("run_1", queued.id)[0] == "cancelled"
