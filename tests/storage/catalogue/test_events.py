import threading
from collections.abc import Callable, Mapping

import pytest

from storage.catalogue.catalogue import Catalogue
from storage.catalogue.events import NewEvent
from storage.errors import CatalogueError


@pytest.fixture(autouse=True)
def runs(catalogue: Catalogue) -> None:
    for run_id in ("run_1", "run_2"):
        catalogue.runs.create(run_id, "", "queued", [], {})


def add(catalogue: Catalogue, run_id: str, kind: str, data: Mapping[str, object]) -> int:
    [number] = catalogue.events.add(run_id, [NewEvent(kind, data)])
    return number


def test_events_from_many_threads_are_numbered_as_they_appear(
    catalogue: Catalogue, in_threads: Callable[[int, Callable[[int], object]], None]
) -> None:
    seen: list[int] = []
    done = threading.Event()

    def follow() -> None:
        last = 0
        while True:
            finished = done.is_set()
            for event in catalogue.events.after("run_1", last, limit=3):
                seen.append(event["id"])
                last = event["id"]
            if finished and not catalogue.events.after("run_1", last):
                return

    reader = threading.Thread(target=follow)
    reader.start()
    in_threads(4, lambda i: [add(catalogue, f"run_{1 + k % 2}", "cycle", {"i": i, "k": k}) for k in range(20)])
    done.set()
    reader.join()
    every = [event["id"] for event in catalogue.events.after("run_1")]
    assert seen == every == sorted(every)
    assert len(every) == 40
    assert {event["kind"] for event in catalogue.events.after("run_2")} == {"cycle"}


def test_events_of_one_kind_can_be_asked_for(catalogue: Catalogue) -> None:
    for kind in ("state", "note", "progress", "note"):
        last = add(catalogue, "run_1", kind, {"text": kind})
    assert [event["kind"] for event in catalogue.events.after("run_1", kind="note")] == ["note", "note"]
    assert [event["id"] for event in catalogue.events.after("run_1", last - 1, kind="note")] == [last]


def test_event_numbers_are_never_given_twice(catalogue: Catalogue) -> None:
    last = add(catalogue, "run_1", "state", {"state": "running"})
    catalogue.runs.delete("run_1")
    assert catalogue.events.after("run_1") == []
    assert add(catalogue, "run_2", "state", {}) > last
    with pytest.raises(CatalogueError, match="no run run_1"):
        add(catalogue, "run_1", "state", {})


def test_a_run_is_followed_with_its_state_at_that_moment(catalogue: Catalogue) -> None:
    first, second = (add(catalogue, "run_1", "note", {"text": text}) for text in ("one", "two"))
    add(catalogue, "run_2", "note", {"text": "other"})
    state, rows = catalogue.events.follow("run_1", first, 10)
    assert (state, [(row["id"], row["data"]) for row in rows]) == ("queued", [(second, {"text": "two"})])
    assert [row["id"] for row in catalogue.events.follow("run_1", 0, 1)[1]] == [first]
    assert catalogue.events.follow("run_1", second, 10, "default") == ("queued", [])
    assert catalogue.events.follow("run_1", 0, 10, "another") == catalogue.events.follow("run_none", 0, 10) == (None, [])


def test_events_of_one_moment_are_all_written_or_none(catalogue: Catalogue) -> None:
    numbers = catalogue.events.add("run_1", [NewEvent("unit", {"unit": "a"}, 5.0), NewEvent("note", {"text": "b"}, 6.0)])
    written = catalogue.events.after("run_1")
    assert [(event["id"], event["kind"], event["time"]) for event in written] == [
        (numbers[0], "unit", 5.0),
        (numbers[1], "note", 6.0),
    ]
    with pytest.raises(CatalogueError, match="not JSON serializable"):
        catalogue.events.add("run_1", [NewEvent("unit", {"unit": "c"}), NewEvent("note", {"text": object()})])
    assert len(catalogue.events.after("run_1")) == 2
