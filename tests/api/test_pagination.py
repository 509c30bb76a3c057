"""Parts of a list."""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from api.pagination import Paging, part_of
from service.errors import InvalidInputError


@dataclass(frozen=True)
class Thing:
    id: str
    created: str


THINGS = [Thing(f"t{i}", f"2024-05-{1 + i // 2:02d}") for i in range(7)]


def test_parts_cover_the_list_once_newest_first() -> None:
    seen, cursor = [], None
    while True:
        part, cursor = part_of(THINGS, Paging(3, cursor))
        seen += part
        if cursor is None:
            break
    assert [thing.id for thing in seen] == ["t6", "t5", "t4", "t3", "t2", "t1", "t0"]


def test_the_cursor_survives_deletion_and_addition() -> None:
    part, cursor = part_of(THINGS, Paging(3, None))
    changed = [thing for thing in THINGS if thing.id != part[-1].id] + [Thing("new", "2025-01-01")]
    assert [thing.id for thing in part_of(changed, Paging(3, cursor))[0]] == ["t3", "t2", "t1"]


@pytest.mark.parametrize("cursor", ["!", "abc", "é", "AAAA"])
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        part_of(THINGS, Paging(3, cursor))
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
