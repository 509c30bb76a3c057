"""Figures on disk: listed last, served only as they were written."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from storage.atomic import write_file
from storage.errors import ResultsDamagedError, ResultsError
from storage.figures import LIST, FigureStore
from storage.location import Location

LISTED: list[dict[str, Any]] = [
    {"name": "elbow", "title": "Elbow", "dataset": None},
    {"name": "maps-ds_1", "title": "Maps", "dataset": "ds_1"},
]


@pytest.fixture
def folder(place: Location) -> Location:
    FigureStore(place / "figures").write({"elbow": b"png 1", "maps-ds_1": b"png 2"}, LISTED)
    return place / "figures"


def test_figures_are_listed_in_order_and_found_by_name(folder: Location) -> None:
    store = FigureStore(folder)
    assert [item["title"] for item in store.listed()] == ["Elbow", "Maps"]
    path = store.path("maps-ds_1")
    assert path is not None
    assert path.read_bytes() == b"png 2"
    assert store.path("../secret") is None
    assert store.damage() == []


def test_figures_that_are_not_written_yet_are_not_damaged(place: Location) -> None:
    with pytest.raises(ResultsError, match="not written") as caught:
        FigureStore(place).listed()
    assert not isinstance(caught.value, ResultsDamagedError)


@pytest.mark.parametrize("content", [b"", b"[{", b"{}x", b'[{"title": "no name"}]', b'[{"name": "../../etc/passwd"}]', b"[3]"])
def test_a_list_that_cannot_be_read_is_damage(folder: Location, content: bytes) -> None:
    write_file(folder / LIST, content)
    with pytest.raises(ResultsDamagedError, match="cannot be read"):
        FigureStore(folder).path("elbow")


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: write_file(path, b""), lambda path: write_file(path, b"gnp 1")]
)
@pytest.mark.parametrize("with_digests", [True, False])
def test_a_figure_that_changed_is_not_served(folder: Location, damage: Callable[[Location], object], with_digests: bool) -> None:
    if not with_digests:  # as the first release listed them: what is there, and not empty, is taken
        write_file(folder / LIST, json.dumps(LISTED).encode())
    damage(folder / "elbow.png")
    if not with_digests and (folder / "elbow.png").exists() and (folder / "elbow.png").read_bytes():
        return
    with pytest.raises(ResultsDamagedError, match=r"elbow\.png"):
        FigureStore(folder).path("elbow")
    assert len(FigureStore(folder).damage()) == 1
