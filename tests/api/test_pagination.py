"""Parts of a list."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from api.pagination import Paging, cursor_of
from service.errors import InvalidInputError
from service.records.views import DatasetFilter, PageKey, RunFilter


@pytest.mark.parametrize("created", [1714564800.123456789, 0.1 + 0.2, 5e-324])
def test_a_cursor_says_where_a_part_ended_to_the_last_bit(created: float) -> None:
    end = PageKey(created, "run_é|1")
    assert Paging(3, cursor_of(end)).after == end
    assert Paging(3, None).after is None
    assert cursor_of(None) is None


@pytest.mark.parametrize("cursor", ["!", "abc", "é", "AAAA", cursor_of(PageKey(float("nan"), "x")), cursor_of(PageKey(1.0, ""))])
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        _ = Paging(3, cursor).after
    assert refused.value.faults[0].field == "cursor"


def test_lists_over_http(client: httpx.Client, dataset: dict[str, Any]) -> None:
    for i in range(4):
        client.post("/api/v1/runs", json={"datasets": [dataset["id"]], "name": str(i)})
    first = client.get("/api/v1/runs", params={"limit": 3}).json()
    assert [item["name"] for item in first["items"]] == ["3", "2", "1"]
    rest = client.get("/api/v1/runs", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert ([item["name"] for item in rest["items"]], rest["next_cursor"]) == (["0"], None)
    assert client.get("/api/v1/runs", params={"limit": 0}).json()["errors"][0]["field"] == "limit"
    assert client.get("/api/v1/datasets", params={"cursor": "x"}).status_code == 422


def test_lists_are_restricted_by_all_that_is_given(client: httpx.Client, service: Any, dataset: dict[str, Any]) -> None:
    given = {"q": dataset["title"], "element": "V", "group": "aged", "state": "open", "label": "x", "since": "2024-05-01"}
    (found,) = client.get("/api/v1/datasets", params=given).json()["items"]
    assert found["id"] == dataset["id"]
    day = datetime(2024, 5, 1, tzinfo=UTC).timestamp()
    assert service.datasets.asked == DatasetFilter(dataset["title"], "V", "aged", "open", "x", day)
    assert client.get("/api/v1/datasets", params={"q": "nothing like it"}).json()["items"] == []
    query = {"q": "a", "state": ["queued", "failed"], "dataset": "ds_1", "until": "2024-05-01T02:00:00+02:00"}
    assert client.get("/api/v1/runs", params=query).json()["items"] == []
    assert service.runs.asked == RunFilter("a", ["queued", "failed"], "ds_1", None, day)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("datasets", {"state": "lost"}),
        ("datasets", {"q": "a\0"}),
        ("datasets", {"since": "soon"}),
        ("runs", {"state": "open"}),
        ("runs", {"until": "2020"}),
    ],
)
def test_a_restriction_without_meaning_is_refused_by_its_name(client: httpx.Client, path: str, query: dict[str, str]) -> None:
    refused = client.get(f"/api/v1/{path}", params=query)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"].split(".")[0] == next(iter(query))


def test_the_page_searches_datasets_and_runs(client: httpx.Client, dataset: dict[str, Any]) -> None:
    client.post("/api/v1/runs", json={"datasets": [dataset["id"]], "name": "first look"})
    found = client.get("/", params={"q": "first"}).text
    assert ('value="first"' in found, f'href="/datasets/{dataset["id"]}"' in found) == (True, False)
    assert "None found." in found
