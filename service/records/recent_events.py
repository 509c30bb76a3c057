"""The last events of runs in memory, for those that follow them while they go on."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from service.records.views import EventView, RunState

REREAD_S: Final = 5.0
"""Longest time until followers of a run see what another process has written of it."""
MOST_KEPT: Final = 200
"""Events of a run that are kept; who is further behind reads the catalogue."""
N_COUNTS: Final = 1024
"""Counts of changes, which all runs share by their hash: a change of another run of the same count costs one more reading."""


@dataclass(frozen=True)
class Tail:
    """The state of a run as read for a project at the moment ``read``, and all its events numbered above ``after``."""

    read: float
    project: str | None
    state: RunState
    after: int
    events: tuple[EventView, ...] = ()


class RecentEvents:
    """What this process wrote of runs since it last read them; used from many threads.

    It holds what was read within the last `REREAD_S`, however many runs there have been.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._tails: dict[str, Tail] = {}
        self._changes = [0] * N_COUNTS
        # a lock of their own: who begins to watch, in an event loop, must not wait for a write under way
        self._watch_guard = threading.Lock()
        self._watchers: dict[str, list[Callable[[], None]]] = {}

    def after(self, run_id: str, number: int, project: str | None) -> tuple[RunState, list[EventView]] | None:
        """The state of a run and its events above ``number``; None where the catalogue has to be asked. It never waits."""
        tail = self._tails.get(run_id)
        if tail is None or tail.project != project or number < tail.after or time.monotonic() - tail.read >= REREAD_S:
            return None
        if not tail.events or tail.events[-1].id <= number:
            return tail.state, []
        return tail.state, [event for event in tail.events if event.id > number]

    @contextmanager
    def watching(self, run_id: str, on_change: Callable[[], None]) -> Iterator[None]:
        """Within it, ``on_change`` is called after each change of a run, in any thread: it must only hand it over."""
        with self._watch_guard:
            self._watchers.setdefault(run_id, []).append(on_change)
        try:
            yield
        finally:
            with self._watch_guard:
                self._watchers[run_id].remove(on_change)
                if not self._watchers[run_id]:
                    del self._watchers[run_id]

    def change_of(self, run_id: str) -> int:
        """A number that changes with the run; whoever reads the run asks for it before, and hands it to `note`."""
        return self._changes[hash(run_id) % N_COUNTS]

    def note(self, run_id: str, change: int, project: str | None, state: RunState, after: int) -> None:
        """Note what was read of a run, which has no events above ``after``, unless it has changed meanwhile."""
        with self._guard:
            if self.change_of(run_id) == change:
                now = time.monotonic()
                self._tails = {name: tail for name, tail in self._tails.items() if now - tail.read < REREAD_S}
                self._tails[run_id] = Tail(now, project, state, after)

    @contextmanager
    def appending(self, run_id: str) -> Iterator[list[EventView]]:
        """Within it, events are added to a run in the catalogue, one writer after another, and then to the list.

        An error on the way leaves nothing of the run in memory.
        """
        added: list[EventView] = []
        with self._guard:
            tail = self._tails.get(run_id)
            with self._changed(run_id):
                yield added
                if tail is not None:
                    tail = longer(tail, added)
            if tail is not None:
                self._tails[run_id] = tail
            self._wake(run_id)

    @contextmanager
    def changing(self, run_id: str) -> Iterator[None]:
        """Within it, the state of a run is changed; followers read it from the catalogue."""
        with self._guard:
            with self._changed(run_id):
                yield
            self._wake(run_id)

    def _wake(self, run_id: str) -> None:
        with self._watch_guard:
            watchers = tuple(self._watchers.get(run_id, ()))
        for on_change in watchers:
            on_change()

    @contextmanager
    def _changed(self, run_id: str) -> Iterator[None]:
        # the number changes last: whoever asked for it before then may have read what was there before
        try:
            yield
        finally:
            self._tails.pop(run_id, None)
            self._changes[hash(run_id) % N_COUNTS] += 1


def longer(tail: Tail, added: Sequence[EventView]) -> Tail:
    """A tail with events added to its end; of too many the first are left out."""
    events = (*tail.events, *added)
    left_out = events[:-MOST_KEPT]
    return replace(tail, events=events[-MOST_KEPT:], after=left_out[-1].id if left_out else tail.after)
