"""The last events of runs in memory: the same as in the catalogue, in order, without gaps."""

import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.records.recent_events import MOST_KEPT, REREAD_S, RecentEvents
from service.records.run_repository import RunRepository
from service.records.views import EventView
from storage.catalogue.catalogue import Catalogue
from storage.catalogue.events import NewEvent
from tasks.options.run import RunOptions


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[RunRepository]:
    with closing(Catalogue(f"sqlite:///{tmp_path}/catalogue.sqlite")) as catalogue:
        repository = RunRepository(catalogue)
        repository.open_run("run_1", "one", ["ds_a"], RunOptions())
        yield repository


def event(number: int) -> EventView:
    return EventView(number, datetime.now(UTC), "note", {"text": str(number)})


def test_what_is_in_memory_is_what_would_be_read(repository: RunRepository) -> None:
    [queued] = repository.follow("run_1", 0)[1]
    data = {"numbers": (1, 2.5), "nothing": None, "odd": float("inf"), "text": "\u00b5"}
    repository.add_events("run_1", [NewEvent("unit", data), NewEvent("note", {"text": "b"}, 5.0)])
    found = repository.follow_in_memory("run_1", queued.id)
    assert found == ("queued", repository.events("run_1", queued.id))
    assert [one.kind for one in found[1]] == ["unit", "note"]
    assert repository.follow_in_memory("run_1", found[1][0].id) == ("queued", [found[1][1]])


def test_what_was_read_before_a_change_is_not_kept() -> None:
    recent = RecentEvents()
    change = recent.change_of("run_1")
    with recent.appending("run_1") as added:
        added.append(event(7))
    recent.note("run_1", change, None, "running", 6)
    assert recent.after("run_1", 6, None) is None
    recent.note("run_1", recent.change_of("run_1"), None, "running", 7)
    assert recent.after("run_1", 7, None) == ("running", [])
    assert recent.after("run_1", 7, "another project") is None


def test_a_write_that_fails_leaves_nothing_in_memory() -> None:
    recent = RecentEvents()
    recent.note("run_1", 0, None, "running", 6)
    with pytest.raises(OSError, match="gone"), recent.appending("run_1"):
        raise OSError("gone")
    assert recent.after("run_1", 6, None) is None


def test_who_is_far_behind_reads_the_catalogue() -> None:
    recent = RecentEvents()
    recent.note("run_1", 0, None, "running", 0)
    for number in range(1, MOST_KEPT + 11):
        with recent.appending("run_1") as added:
            added.append(event(number))
    assert recent.after("run_1", 9, None) is None
    found = recent.after("run_1", 10, None)
    assert found is not None
    assert [one.id for one in found[1]] == list(range(11, MOST_KEPT + 11))


def test_runs_of_the_past_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    recent, now = RecentEvents(), 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def follow(runs: range) -> int:
        nonlocal now
        for number in runs:
            now += REREAD_S / 10
            name = f"run_{number}"
            recent.note(name, recent.change_of(name), None, "running", 0)
            with recent.appending(name) as added:
                added.append(event(1))
            assert recent.after(name, 0, None) is not None
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = follow(range(20))
        assert follow(range(20, 2000)) - before < 50_000
    finally:
        tracemalloc.stop()


def test_watchers_are_woken_by_every_change_until_they_leave(repository: RunRepository) -> None:
    woken: list[None] = []
    with repository.watching("run_1", lambda: woken.append(None)):
        repository.add_events("run_1", [NewEvent("note", {"text": "a"})])
        repository.begin_run("run_1")
        assert len(woken) == 2
    repository.end_run("run_1", "failed", "no")
    assert len(woken) == 2


def test_a_follower_beside_many_writers_sees_every_event_once_and_in_order(repository: RunRepository) -> None:
    seen: list[int] = []
    done = threading.Event()

    def write(writer: int) -> None:
        for number in range(25):
            repository.add_events("run_1", [NewEvent("note", {"text": f"{writer} {number}"})])

    def follow() -> None:
        last = 0
        while True:
            is_last = done.is_set()
            _, found = repository.follow("run_1", last)
            seen.extend(one.id for one in found)
            last = seen[-1]
            if is_last and not found:
                return

    reader = threading.Thread(target=follow)
    reader.start()
    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write, range(4)))
    done.set()
    reader.join()
    assert seen == [one.id for one in repository.events("run_1", 0)]
    assert len(seen) == 101


def test_who_begins_to_watch_waits_for_no_write() -> None:
    """A write may wait for the catalogue; an event loop that begins to follow a run must not."""
    recent, woken = RecentEvents(), threading.Event()

    def watch() -> None:
        with recent.watching("run_1", woken.set):
            pass

    with ThreadPoolExecutor(1) as threads, recent.appending("run_1") as added:
        threads.submit(watch).result(timeout=60)
        added.append(event(1))
