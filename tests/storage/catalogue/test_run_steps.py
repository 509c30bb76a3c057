"""Steps of runs in the catalogue."""

from typing import Any

from storage.catalogue.catalogue import Catalogue
from storage.catalogue.database import Row


def row(run_id: str, needed: bytes = b"\x00\xff" * 8) -> Row:
    return {"run_id": run_id, "basis": "b", "needed": needed, "past": b""}


def test_rows_are_replaced_and_go_with_their_run(catalogue: Catalogue) -> None:
    for run_id in ("run_1", "run_2"):
        catalogue.runs.create(run_id, "", "succeeded", [], {})
    catalogue.run_steps.put([row("run_1"), row("run_2"), row("run_gone")])
    catalogue.run_steps.put([row("run_2", b"\x01")])
    catalogue.run_steps.put([])
    found = sorted(catalogue.run_steps.rows(), key=lambda found: found["run_id"])
    assert [{**one, "needed": bytes(one["needed"]), "past": bytes(one["past"])} for one in found] == [
        row("run_1"),
        row("run_2", b"\x01"),
    ]
    catalogue.runs.delete("run_2")
    assert [one["run_id"] for one in catalogue.run_steps.rows()] == ["run_1"]


def test_the_version_of_a_dataset_is_another_once_it_is_read_anew(catalogue: Catalogue) -> None:
    texts = dict.fromkeys(("project", "title", "sample_name", "sample_group", "element", "edge"), "")
    about: dict[str, Any] = {**texts, "id": "ds_1", "attributes": {}, "fault": None, "stamp": "1", "created": 1.0}
    seen = []
    for state, updated in (("sealed", 1.0), ("sealed", 1.0), ("sealed", 1.5), ("open", 2.0), ("damaged", 3.0)):
        catalogue.datasets.put({**about, "state": state, "updated": updated})
        seen.append(catalogue.datasets.sealed_versions())
    assert seen[0] == seen[1] != seen[2]
    assert [list(one) for one in seen] == [["ds_1"], ["ds_1"], ["ds_1"], [], []]
