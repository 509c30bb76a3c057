import threading
from collections.abc import Iterator
from typing import Any

import pytest

from storage.catalogue.catalogue import Catalogue, new_id
from storage.errors import CatalogueError


@pytest.fixture
def catalogue(url: str) -> Iterator[Catalogue]:
    catalogue = Catalogue(url)
    yield catalogue
    catalogue.close()


def in_threads(n: int, work: Any) -> None:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_datasets_are_kept_changed_and_forgotten(catalogue: Catalogue, url: str) -> None:
    spec = {"title": "a µm particle", "sample": {"formula": "LiVO2"}}
    row = catalogue.create_dataset("ds_1", spec, project="p")
    assert (row["state"], row["spec"], row["project"]) == ("open", spec, "p")
    assert catalogue.update_dataset("ds_1", state="sealed")["state"] == "sealed"
    again = Catalogue(url)
    found = again.dataset("ds_1")
    again.close()
    assert found is not None
    assert found["state"] == "sealed"
    assert found["updated"] >= found["created"] == row["created"]
    catalogue.delete_dataset("ds_1")
    catalogue.delete_dataset("ds_1")
    assert catalogue.dataset("ds_1") is None
    with pytest.raises(CatalogueError, match="no row ds_1"):
        catalogue.update_dataset("ds_1", state="open")


def test_a_name_is_given_once(catalogue: Catalogue) -> None:
    catalogue.create_dataset("ds_1", {})
    with pytest.raises(CatalogueError, match="ds_1 already"):
        catalogue.create_dataset("ds_1", {})
    catalogue.create_run("run_1", "", [], {})
    with pytest.raises(CatalogueError, match="run_1 already"):
        catalogue.create_run("run_1", "", [], {})


def test_a_project_sees_only_its_own(catalogue: Catalogue) -> None:
    catalogue.create_dataset("ds_a", {}, project="a")
    catalogue.create_run("run_a", "", ["ds_a"], {}, project="a")
    assert catalogue.dataset("ds_a", project="b") is None
    assert catalogue.run("run_a", project="b") is None
    assert catalogue.datasets(project="b") == catalogue.runs(project="b") == []
    assert catalogue.count_runs(["queued"], project="b") == 0
    assert [row["id"] for row in catalogue.datasets(project="a")] == ["ds_a"]
    assert catalogue.run("run_a", project="a") is not None


def test_pages_go_on_where_the_last_ended_newest_first(catalogue: Catalogue) -> None:
    for index in range(5):
        catalogue.create_run(f"run_{index}", "", [], {})
    first = [row["id"] for row in catalogue.runs(limit=2)]
    catalogue.create_run("run_late", "", [], {})
    second = [row["id"] for row in catalogue.runs(after=first[-1], limit=2)]
    third = [row["id"] for row in catalogue.runs(after=second[-1], limit=2)]
    assert (first, second, third) == (["run_4", "run_3"], ["run_2", "run_1"], ["run_0"])
    with pytest.raises(CatalogueError, match="to go on after"):
        catalogue.runs(after="run_x")


def test_runs_are_found_by_state_and_dataset(catalogue: Catalogue) -> None:
    for name, datasets in (("run_1", ["ds_1"]), ("run_2", ["ds_1", "ds_2"]), ("run_3", ["ds_2"])):
        catalogue.create_run(name, "", datasets, {"fit": {"prior": "mean"}}, notes=["skipped: kkr"])
    catalogue.update_run("run_1", state="succeeded", progress=1.0, finished=2.0)
    assert [row["id"] for row in catalogue.unfinished_runs()] == ["run_2", "run_3"]
    assert [row["id"] for row in catalogue.runs_of_dataset("ds_1")] == ["run_2", "run_1"]
    assert [row["id"] for row in catalogue.runs(states=["succeeded"])] == ["run_1"]
    assert catalogue.count_runs(["queued"]) == 2
    row = catalogue.run("run_2")
    assert row is not None
    assert (row["notes"], row["options"]) == (["skipped: kkr"], {"fit": {"prior": "mean"}})


def test_of_many_that_change_a_state_one_does(catalogue: Catalogue) -> None:
    catalogue.create_run("run_1", "", [], {})
    won: list[bool] = []
    in_threads(8, lambda i: won.append(catalogue.change_run_state("run_1", ["queued"], "running", started=float(i))))
    assert sorted(won) == [False] * 7 + [True]
    assert not catalogue.change_run_state("run_1", ["queued", "failed"], "cancelled")
    assert catalogue.change_run_state("run_1", ["running"], "cancelled")
    assert not catalogue.change_run_state("no_such", ["running"], "cancelled")


def test_events_from_many_threads_are_numbered_as_they_appear(catalogue: Catalogue) -> None:
    catalogue.create_run("run_1", "", [], {})
    catalogue.create_run("run_2", "", [], {})
    seen: list[int] = []
    done = threading.Event()

    def follow() -> None:
        last = 0
        while True:
            finished = done.is_set()
            for event in catalogue.events_after("run_1", last, limit=3):
                seen.append(event["id"])
                last = event["id"]
            if finished and not catalogue.events_after("run_1", last):
                return

    reader = threading.Thread(target=follow)
    reader.start()
    in_threads(4, lambda i: [catalogue.add_event(f"run_{1 + k % 2}", "cycle", {"i": i, "k": k}) for k in range(20)])
    done.set()
    reader.join()
    every = [event["id"] for event in catalogue.events_after("run_1")]
    assert seen == every == sorted(every)
    assert len(every) == 40
    assert {event["kind"] for event in catalogue.events_after("run_2")} == {"cycle"}


def test_events_of_one_kind_can_be_asked_for(catalogue: Catalogue) -> None:
    catalogue.create_run("run_1", "", [], {})
    for kind in ("state", "note", "progress", "note"):
        last = catalogue.add_event("run_1", kind, {"text": kind})
    assert [event["kind"] for event in catalogue.events_after("run_1", kind="note")] == ["note", "note"]
    assert [event["id"] for event in catalogue.events_after("run_1", last - 1, kind="note")] == [last]


def test_event_numbers_are_never_given_twice(catalogue: Catalogue) -> None:
    catalogue.create_run("run_1", "", [], {})
    last = catalogue.add_event("run_1", "state", {"state": "running"})
    catalogue.delete_run("run_1")
    assert catalogue.events_after("run_1") == []
    catalogue.create_run("run_2", "", [], {})
    assert catalogue.add_event("run_2", "state", {}) > last
    with pytest.raises(CatalogueError, match="no run run_1"):
        catalogue.add_event("run_1", "state", {})


def test_an_idempotency_key_belongs_to_the_first_request(catalogue: Catalogue) -> None:
    claims: list[str] = []
    in_threads(6, lambda i: claims.append(catalogue.claim("key", f"digest-{i}", f"run_{i}")["run_id"]))
    assert len(set(claims)) == 1
    assert catalogue.claim("key", "other", "run_9")["run_id"] == claims[0]
    assert catalogue.claim("key", "other", "run_9", project="b")["run_id"] == "run_9"


def test_it_says_whether_the_database_answers(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalogue.is_ready()

    def refuse() -> None:
        raise OSError("gone")

    monkeypatch.setattr(catalogue._engine, "connect", refuse)
    assert not catalogue.is_ready()


def test_names_are_unguessable() -> None:
    names = {new_id("run") for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) == 20 and name.startswith("run_") for name in names)
