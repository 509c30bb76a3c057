"""Parts of a list."""

from typing import Any

import httpx
import pytest

from api.pagination import Paging, cursor_of
from service.errors import InvalidInputError
from service.records.views import PageKey


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
