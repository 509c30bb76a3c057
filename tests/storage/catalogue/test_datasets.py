from typing import Any

import pytest

from storage.catalogue.catalogue import Catalogue
from storage.catalogue.datasets import DatasetFilter
from storage.catalogue.paging import PageKey


def dataset(dataset_id: str, **changed: Any) -> dict[str, Any]:
    row = {
        "id": dataset_id, "project": "default", "state": "open", "title": "a µm particle", "sample_name": "p1",
        "sample_group": "pristine", "element": "V", "edge": "K", "attributes": {"title": "a µm particle"}, "fault": None,
        "stamp": "1.2", "created": 10.0, "updated": 10.0,
    }  # fmt: skip
    return row | changed


def scan(name: str, energy_ev: float = 5420.0, **changed: Any) -> dict[str, Any]:
    row = {
        "name": name, "upload": name, "energy_ev": energy_ev, "distance_m": 1.5, "detector_pixel_size_m": 75e-6,
        "n_positions": 16, "n_pixels": 32, "n_bytes": 1000, "sha256": "0" * 64, "n_entries": 1, "digest": "1" * 64,
        "corners_m": [[0.0, 0.1], [1e-7, 2.5e-7]], "warnings": [], "image": None, "stamp": "3.4",
    }  # fmt: skip
    return row | changed


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["name"] for row in rows]


def test_a_dataset_comes_back_with_its_scans_by_energy(catalogue: Catalogue) -> None:
    catalogue.datasets.put(dataset("ds_1"), [scan("b", 5430.1), scan("a", 5420.3)], ["beamtime 7", "good"])
    row = catalogue.datasets.get("ds_1")
    assert row is not None
    assert (row["n_scans"], row["n_bytes"], row["attributes"]) == (2, 2000, {"title": "a µm particle"})
    found = catalogue.datasets.scans(["ds_1", "ds_x"])
    assert found["ds_1"] == [scan("a", 5420.3), scan("b", 5430.1)], "every number to its last bit"
    assert found["ds_x"] == []


def test_what_is_written_again_replaces_what_was_known(catalogue: Catalogue) -> None:
    catalogue.datasets.put(dataset("ds_1"), [scan("a"), scan("b", 5430.0)], ["old"])
    catalogue.datasets.put(dataset("ds_1", state="sealed"), [scan("c")], ["new"])
    row = catalogue.datasets.get("ds_1")
    assert row is not None
    assert (row["state"], row["n_scans"]) == ("sealed", 1)
    assert names(catalogue.datasets.scans(["ds_1"])["ds_1"]) == ["c"]
    assert catalogue.datasets.page(matching=DatasetFilter(label="old")) == []


def test_scans_are_added_without_the_others_being_sent_again(catalogue: Catalogue) -> None:
    catalogue.datasets.put(dataset("ds_1"), [scan("a")])
    assert catalogue.datasets.add_scans("ds_1", [scan("b", 5430.0, n_bytes=500)])
    assert catalogue.datasets.add_scans("ds_1", [scan("b", 5430.0, n_bytes=700)])
    row = catalogue.datasets.get("ds_1")
    assert row is not None
    assert (row["n_scans"], row["n_bytes"]) == (2, 1700)
    assert not catalogue.datasets.add_scans("ds_x", [scan("b")])
    assert catalogue.datasets.scans(["ds_x"])["ds_x"] == []


def test_more_scans_than_one_statement_takes(catalogue: Catalogue) -> None:
    catalogue.datasets.put(dataset("ds_1"), [scan(f"s{i}", 5000 + i) for i in range(2500)])
    assert len(catalogue.datasets.scans(["ds_1"])["ds_1"]) == 2500


def test_a_project_sees_and_counts_only_its_own(catalogue: Catalogue) -> None:
    catalogue.datasets.put(dataset("ds_a", project="a"), [scan("x")])
    catalogue.datasets.put(dataset("ds_b", project="b"), [scan("x"), scan("y", 5430.0)])
    assert catalogue.datasets.get("ds_a", project="b") is None
    assert [row["id"] for row in catalogue.datasets.page(project="a")] == ["ds_a"]
    assert catalogue.datasets.totals("a") == (1, 1000)
    assert catalogue.datasets.totals() == (2, 3000)
    assert catalogue.datasets.totals("c") == (0, 0)


def test_a_dataset_is_forgotten_with_all_that_belongs_to_it(catalogue: Catalogue) -> None:
    catalogue.datasets.put(dataset("ds_1"), [scan("a")], ["label"])
    catalogue.datasets.delete("ds_1")
    catalogue.datasets.delete("ds_1")
    assert catalogue.datasets.get("ds_1") is None
    assert catalogue.datasets.scans(["ds_1"])["ds_1"] == []
    assert catalogue.datasets.stamps() == {}


def test_pages_go_on_where_the_last_ended(catalogue: Catalogue) -> None:
    for index, created in enumerate((1.0, 2.0, 2.0, 3.0)):
        catalogue.datasets.put(dataset(f"ds_{index}", created=created))
    first = catalogue.datasets.page(limit=2)
    end = PageKey(first[-1]["created"], first[-1]["id"])
    assert [row["id"] for row in first] == ["ds_3", "ds_2"]
    catalogue.datasets.delete("ds_2")
    assert [row["id"] for row in catalogue.datasets.page(after=end)] == ["ds_1", "ds_0"]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, {"ds_1", "ds_2"}),
        ({"text": "IRON"}, {"ds_2"}),
        ({"text": "100%"}, {"ds_2"}),
        ({"text": "100_"}, set()),
        ({"text": "pristine"}, {"ds_1"}),
        ({"text": "ds_1"}, {"ds_1"}),
        ({"element": "Fe"}, {"ds_2"}),
        ({"group": "pristine"}, {"ds_1"}),
        ({"state": "sealed"}, {"ds_2"}),
        ({"label": "good"}, {"ds_1"}),
        ({"label": "good", "element": "Fe"}, set()),
        ({"since": 20.0}, {"ds_2"}),
        ({"until": 20.0}, {"ds_1"}),
    ],
)
def test_datasets_are_found_by_what_they_are(catalogue: Catalogue, fields: dict[str, Any], found: set[str]) -> None:
    catalogue.datasets.put(dataset("ds_1"), (), ["good"])
    other = {"title": "100% iron", "sample_group": "aged", "element": "Fe", "state": "sealed", "created": 20.0}
    catalogue.datasets.put(dataset("ds_2", **other))
    assert {row["id"] for row in catalogue.datasets.page(matching=DatasetFilter(**fields))} == found
