"""Spectra of areas over HTTP."""

from typing import Any

import httpx


def test_areas_are_answered_in_order_with_fit_and_ratios(client: httpx.Client, finished: dict[str, Any]) -> None:
    dataset = finished["datasets"][0]
    areas = [
        {"dataset": dataset, "name": "A", "box": [10, 10, 14, 14]},
        {"dataset": dataset, "name": "B", "polygon": [[8, 8], [8, 30], [20.5, 20]]},
        {"dataset": dataset, "pixel": [0, 0]},
    ]
    items = client.post(f"/api/v1/runs/{finished['id']}/spectra", json={"areas": areas}).raise_for_status().json()["items"]
    assert [item["name"] for item in items] == ["A", "B", ""]
    assert [item["n_pixels"] for item in items][::2] == [25, 1]
    first = items[0]
    assert len(first["energy_ev"]) == len(first["absorption"]) == len(first["fit"]["residual"]) == 14
    assert first["ratios"]["electron_ratio"][0] > 0
    assert items[2]["ratios"]["electron_ratio"] == [None, None]  # there are no atoms in vacuum


def test_one_pixel_by_get(client: httpx.Client, finished: dict[str, Any]) -> None:
    query = {"dataset": finished["datasets"][0], "y": 20, "x": 25}
    found = client.get(f"/api/v1/runs/{finished['id']}/spectrum", params=query).raise_for_status().json()
    assert found["fit"]["sigma"]["offset"] is None  # the maps hold no error of it
    assert 5475 < found["fit"]["parameters"]["edge_energy"] < 5481


def test_what_is_no_area_is_refused_by_field(client: httpx.Client, finished: dict[str, Any], run: dict[str, Any]) -> None:
    path, dataset = f"/api/v1/runs/{finished['id']}/spectra", finished["datasets"][0]
    for area, field in (
        ({"dataset": dataset}, "areas.0"),
        ({"dataset": dataset, "pixel": [1, 1], "box": [1, 1, 2, 2]}, "areas.0"),
        ({"dataset": dataset, "pixel": [-1, 1]}, "areas.0.pixel.0"),
        ({"dataset": dataset, "pixel": [1, 4000]}, "areas.0.pixel"),
        ({"dataset": dataset, "polygon": [[1, 1], [2, 2]]}, "areas.0.polygon"),
    ):
        answer = client.post(path, json={"areas": [area]})
        assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])
    assert client.post(path, json={"areas": [{"dataset": "ds_other", "pixel": [1, 1]}]}).status_code == 404


def test_a_run_without_results_has_no_spectra(client: httpx.Client, run: dict[str, Any]) -> None:
    areas = [{"dataset": run["datasets"][0], "pixel": [1, 1]}]
    assert client.post(f"/api/v1/runs/{run['id']}/spectra", json={"areas": areas}).status_code == 409
