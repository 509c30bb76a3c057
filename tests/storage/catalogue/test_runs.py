from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from storage.catalogue.catalogue import Catalogue
from storage.catalogue.paging import PageKey
from storage.catalogue.runs import RunFilter
from storage.errors import CatalogueError

InThreads = Callable[[int, Callable[[int], object]], None]


def create(catalogue: Catalogue, run_id: str, **changed: Any) -> None:
    catalogue.runs.create(**{"run_id": run_id, "name": "", "state": "queued", "dataset_ids": [], "options": {}, **changed})


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]


def test_a_run_is_kept_changed_and_forgotten(catalogue: Catalogue, url: str) -> None:
    create(catalogue, "run_1", name="a µm run", dataset_ids=["ds_1", "ds_2"], options={"fit": {"prior": "mean"}})
    catalogue.runs.update("run_1", progress=0.5, eta_s=3.0)
    again = Catalogue(url)
    row = again.runs.get("run_1")
    again.close()
    assert row is not None
    assert (row["name"], row["state"], row["progress"], row["eta_s"]) == ("a µm run", "queued", 0.5, 3.0)
    assert (row["datasets"], row["options"]) == (["ds_1", "ds_2"], {"fit": {"prior": "mean"}})
    assert row["updated"] >= row["created"]
    catalogue.runs.delete("run_1")
    catalogue.runs.delete("run_1")
    assert catalogue.runs.get("run_1") is None
    assert catalogue.runs.page(matching=RunFilter(dataset="ds_1")) == []
    with pytest.raises(CatalogueError, match="no run run_1"):
        catalogue.runs.update("run_1", progress=1.0)


def test_a_name_is_given_once(catalogue: Catalogue) -> None:
    create(catalogue, "run_1")
    with pytest.raises(CatalogueError, match="run_1 already"):
        create(catalogue, "run_1")


def test_a_project_sees_only_its_own(catalogue: Catalogue) -> None:
    create(catalogue, "run_a", project="a")
    assert catalogue.runs.get("run_a", project="b") is None
    assert catalogue.runs.page(project="b") == []
    assert catalogue.runs.count(project="b") == 0
    assert ids(catalogue.runs.page(project="a")) == ["run_a"]
    assert catalogue.runs.get("run_a", project="a") is not None


def test_pages_go_on_where_the_last_ended_whatever_comes_and_goes(catalogue: Catalogue) -> None:
    for index in range(5):
        create(catalogue, f"run_{index}")
    first = catalogue.runs.page(limit=2)
    end = PageKey(first[-1]["created"], first[-1]["id"])
    create(catalogue, "run_late")
    catalogue.runs.delete(first[-1]["id"])
    second = catalogue.runs.page(after=end, limit=2)
    third = catalogue.runs.page(after=PageKey(second[-1]["created"], second[-1]["id"]), limit=2)
    assert (ids(first), ids(second), ids(third)) == (["run_4", "run_3"], ["run_2", "run_1"], ["run_0"])


def test_runs_of_one_moment_are_paged_by_their_ids(catalogue: Catalogue) -> None:
    for index in range(4):
        create(catalogue, f"run_{index}")
        catalogue.runs.update(f"run_{index}", created=1.5)
    assert ids(catalogue.runs.page(after=PageKey(1.5, "run_2"))) == ["run_1", "run_0"]


def test_runs_are_found_by_state_dataset_name_and_date(catalogue: Catalogue) -> None:
    for name, datasets in (("run_1", ["ds_1"]), ("run_2", ["ds_1", "ds_2"]), ("run_3", ["ds_2"])):
        create(catalogue, name, name=f"Look {name[-1]} at 100_%", dataset_ids=datasets)
    catalogue.runs.update("run_1", state="succeeded", created=100.0)

    def found(**fields: Any) -> list[str]:
        return ids(catalogue.runs.page(matching=RunFilter(**fields)))

    assert found(states=["queued"]) == ["run_3", "run_2"]
    assert found(states=[]) == []
    assert found(dataset="ds_1") == ["run_2", "run_1"]
    assert found(states=["queued"], dataset="ds_1") == ["run_2"]
    assert found(text="look 1") == ["run_1"]
    assert found(text="100_%") == ["run_3", "run_2", "run_1"]
    assert found(text="100__") == []
    assert found(until=101.0) == ["run_1"]
    assert found(since=101.0) == ["run_3", "run_2"]
    assert catalogue.runs.count(matching=RunFilter(states=["queued"])) == 2
    assert catalogue.runs.count_by_state() == {"queued": 2, "succeeded": 1}


def test_of_many_that_change_a_state_one_does(catalogue: Catalogue, in_threads: InThreads) -> None:
    create(catalogue, "run_1")
    won: list[bool] = []
    in_threads(8, lambda i: won.append(catalogue.runs.change_state("run_1", ["queued"], "running", started=float(i))))
    assert sorted(won) == [False] * 7 + [True]
    assert not catalogue.runs.change_state("run_1", ["queued", "failed"], "cancelled")
    assert catalogue.runs.change_state("run_1", ["running"], "cancelled")
    assert not catalogue.runs.change_state("no_such", ["running"], "cancelled")


def test_an_idempotency_key_belongs_to_the_first_request(catalogue: Catalogue, in_threads: InThreads) -> None:
    claims: list[str] = []
    in_threads(6, lambda i: claims.append(catalogue.runs.claim("key", f"digest-{i}", f"run_{i}")["run_id"]))
    assert len(set(claims)) == 1
    assert catalogue.runs.claim("key", "other", "run_9")["run_id"] == claims[0]
    assert catalogue.runs.claim("key", "other", "run_9", project="b")["run_id"] == "run_9"


@pytest.mark.parametrize("column", ["datasets", "options", "stages"])
def test_a_damaged_row_hides_no_other(tmp_path_factory: pytest.TempPathFactory, column: str) -> None:
    catalogue = Catalogue(f"sqlite:///{tmp_path_factory.mktemp('c')}/c.db")
    for run_id in ("run_1", "run_2"):
        create(catalogue, run_id, options={"fit": {}})
    with catalogue._database.write() as connection:
        connection.execute(text(f"UPDATE runs SET {column} = '[tru' WHERE id = 'run_1'"))
    second, first = catalogue.runs.page()
    assert first[column] is None
    assert (second["id"], second["options"]) == ("run_2", {"fit": {}})
    catalogue.close()
