"""Runs and their events as the service knows them, over the rows of the catalogue."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import FiniteFloat, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from service.api_keys import DEFAULT_PROJECT
from service.records.recent_events import RecentEvents
from service.records.views import MOST_EVENTS, RUN_STATES, UNFINISHED, EventView, Page, RunState, RunView, StageView, moment
from storage.catalogue.catalogue import Catalogue
from storage.catalogue.database import Row
from storage.catalogue.events import NewEvent
from storage.catalogue.paging import PageKey
from storage.catalogue.runs import EVERY_RUN, RunFilter
from tasks.options.run import OPTIONS, RunOptions

MOST_NOTES: Final = 100_000
RETRIED: Final[tuple[RunState, ...]] = ("failed", "cancelled")


KINDS: Final[dict[str, TypeAdapter[Any]]] = {
    "name": TypeAdapter(str),
    "state": TypeAdapter(RunState),
    "stages": TypeAdapter(tuple[StageView, ...]),
    "progress": TypeAdapter(FiniteFloat),
    "eta_s": TypeAdapter(FiniteFloat | None),
    "error": TypeAdapter(str | None),
    "datasets": TypeAdapter(tuple[str, ...]),
    "options": TypeAdapter(dict[str, Any]),
    "created": TypeAdapter(datetime),
    "started": TypeAdapter(datetime | None),
    "finished": TypeAdapter(datetime | None),
}
"""What the columns of a run hold, as it is handed out."""
BLANK: Final[dict[str, Any]] = {
    **dict.fromkeys(("eta_s", "error", "started", "finished")),
    **dict.fromkeys(("stages", "datasets"), ()),
    "name": "",
    "state": "failed",
    "progress": 0.0,
    "options": {},
    "created": moment(0.0),
}
"""What stands in a run's view for columns that cannot be read."""


@dataclass(frozen=True)
class RunRecord:
    """What the runner must know of a run."""

    id: str
    datasets: tuple[str, ...]
    options: RunOptions


class RunRepository:
    """Runs and their events; used from the threads of the API and of the runner alike."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._runs = catalogue.runs
        self._events = catalogue.events
        self._last_progress: dict[str, tuple[object, object]] = {}
        self._recent = RecentEvents()
        self._unfinished: dict[str, RunRecord] = {}

    def open_run(
        self, run_id: str, name: str, dataset_ids: Sequence[str], options: RunOptions, project: str = DEFAULT_PROJECT
    ) -> None:
        """Write a new run of a project down, as queued.

        Raises
        ------
        RowExistsError
            There is a run of that name.
        """
        queued = ("state", {"state": "queued"})
        with self._recent.changing(run_id):
            self._runs.create(run_id, name, "queued", dataset_ids, OPTIONS.dump_python(options, mode="json"), project, queued)

    def claim(self, key: str, body_digest: str, run_id: str, project: str) -> tuple[str, str]:
        """The run and the digest of the body that an idempotency key stands for: these, or those of whoever came first."""
        row = self._runs.claim(key, body_digest, run_id, project)
        return row["run_id"], row["body_digest"]

    def unfinished_runs(self) -> list[RunRecord]:
        """Runs that are queued or running, oldest first; one whose row cannot be read is written down as failed.

        What is asked for every other second is read once: datasets and options of a run do not change.
        """
        known, self._unfinished = self._unfinished, {}
        for row in reversed(self._runs.page(matching=RunFilter(states=UNFINISHED))):
            try:
                self._unfinished[row["id"]] = known.get(row["id"]) or record_of(row)
            except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
                self.end_run(row["id"], "failed", f"the run's row of the catalogue is damaged: {error}")
        return list(self._unfinished.values())

    def begin_run(self, run_id: str) -> bool:
        """A run starts, or goes on after a restart; False where it has ended, or is gone."""
        with self._recent.changing(run_id):
            if self._runs.change_state(run_id, ("queued",), "running", started=time.time(), error=None):
                return True
        row = self._runs.get(run_id)
        return row is not None and row["state"] == "running"

    def end_run(self, run_id: str, state: RunState, error: str | None, before: Sequence[RunState] = UNFINISHED) -> bool:
        """End a run that is in one of the states ``before``, for good or until it is tried again; False where it is not."""
        self._last_progress.pop(run_id, None)
        reason = None if error is None else printable(error)
        with self._recent.changing(run_id):
            return self._runs.change_state(run_id, before, state, finished=time.time(), error=reason, eta_s=None)

    def reopen_run(self, run_id: str, before: Sequence[RunState] = RETRIED) -> bool:
        """Queue a run again that is in one of the states ``before``; False where it is in another state."""
        with self._recent.changing(run_id):
            return self._runs.change_state(run_id, before, "queued", finished=None, started=None, error=None)

    def rename(self, run_id: str, name: str) -> None:
        """Give a run another name."""
        self._runs.update(run_id, name=name)

    def delete(self, run_id: str) -> None:
        """Forget a run and its events."""
        with self._recent.changing(run_id):
            self._runs.delete(run_id)

    def write_progress(
        self,
        run_id: str,
        progress: float,
        eta_s: float | None,
        stages: Sequence[StageView],
        happened: Sequence[NewEvent] = (),
    ) -> None:
        """Write down how far a run is where it moved, and add an event where it moved by a hundredth or a stage began or ended.

        So a run has some hundred events of its progress, however long it takes. What happened before is added in the same
        transaction.
        """
        told = {"progress": round(progress, 4), "stages": [asdict(stage) for stage in stages]}
        shown = round(progress, 2), [(stage.name, stage.state) for stage in stages]
        last_told, last_shown = self._last_progress.get(run_id, (None, None))
        if last_told == told:
            self.add_events(run_id, happened)
            return
        new = [*happened, *([] if last_shown == shown else [NewEvent("progress", {**told, "eta_s": eta_s})])]
        with self._recent.appending(run_id) as added:
            numbers = self._runs.update(run_id, new, progress=progress, eta_s=eta_s, stages=told["stages"])
            added += [as_read(number, event) for number, event in zip(numbers, new, strict=True)]
        self._last_progress[run_id] = told, shown

    def add_events(self, run_id: str, happened: Sequence[NewEvent]) -> None:
        """Tell of what happened to a run, in one transaction."""
        if happened:
            with self._recent.appending(run_id) as added:
                numbers = self._events.add(run_id, happened)
                added += [as_read(number, event) for number, event in zip(numbers, happened, strict=True)]

    def events(self, run_id: str, after: int) -> list[EventView]:
        """Events of a run with an id above ``after``, oldest first, `MOST_EVENTS` at most."""
        return [event_view(row) for row in self._events.after(run_id, after, MOST_EVENTS)]

    def follow(self, run_id: str, after: int, project: str | None = None) -> tuple[RunState | None, Sequence[EventView]]:
        """The state of a run, and `events` at the same moment; the state is None where there is none, or not in that project.

        What this process wrote since the run was last read is answered from memory, for `REREAD_S` at most.
        """
        known = self.follow_in_memory(run_id, after, project)
        if known is not None:
            return known
        change = self._recent.change_of(run_id)
        found, rows = self._events.follow(run_id, after, MOST_EVENTS, project)
        state: RunState | None = None if found is None else next((one for one in RUN_STATES if one == found), "failed")
        if state in UNFINISHED and len(rows) < MOST_EVENTS:
            self._recent.note(run_id, change, project, state, rows[-1]["id"] if rows else after)
        return state, [event_view(row) for row in rows]

    def follow_in_memory(
        self, run_id: str, after: int, project: str | None = None
    ) -> tuple[RunState, Sequence[EventView]] | None:
        """What `follow` answers, at once and without the catalogue; None where that has to be asked."""
        return self._recent.after(run_id, after, project)

    def watching(self, run_id: str, on_change: Callable[[], None]) -> AbstractContextManager[None]:
        """Within it, ``on_change`` is called after each change that this process writes of a run, in any thread."""
        return self._recent.watching(run_id, on_change)

    def warnings(self, run_id: str) -> set[str]:
        """Texts of all that a run has been told, its warnings among it."""
        rows = self._events.after(run_id, limit=MOST_NOTES, kind="note")
        return {row["data"]["text"] for row in rows if isinstance(row["data"], dict) and isinstance(row["data"].get("text"), str)}

    def view(self, run_id: str, dashboard_url: str | None = None, project: str | None = None) -> RunView | None:
        """A run as it stands; None where there is none of that name, or not in that project."""
        row = self._runs.get(run_id, project)
        return None if row is None else view_of(row, dashboard_url)

    def page(
        self,
        project: str | None,
        dashboard_url: str | None = None,
        matching: RunFilter = EVERY_RUN,
        after: PageKey | None = None,
        limit: int = 50,
    ) -> Page[RunView]:
        """Part of the list of runs, newest first."""
        rows = self._runs.page(project, matching, after, limit + 1)
        shown = rows[:limit]
        end = PageKey(shown[-1]["created"], shown[-1]["id"]) if len(rows) > limit else None
        return Page(tuple(view_of(row, dashboard_url) for row in shown), end)

    def count_unfinished(self, project: str | None = None) -> int:
        """Number of runs of a project, or of all, that are queued or running."""
        return self._runs.count(project, RunFilter(states=UNFINISHED))

    def users_of(self, dataset_id: str) -> list[str]:
        """Runs on a dataset that have not ended."""
        return [row["id"] for row in self._runs.page(matching=RunFilter(states=UNFINISHED, dataset=dataset_id))]


def record_of(row: Row) -> RunRecord:
    """A row of the catalogue as a `RunRecord`."""
    return RunRecord(row["id"], tuple(row["datasets"]), OPTIONS.validate_python(row["options"]))


def view_of(row: Row, dashboard_url: str | None) -> RunView:
    """A row of the catalogue as a `RunView`; what of it cannot be read is empty, and its error says so."""
    found, damaged = dict(BLANK), []
    for name, kind in KINDS.items():
        try:
            found[name] = kind.validate_python(row[name])
        except ValidationError:
            damaged.append(name)
    if damaged:
        found["error"] = f"the run's row of the catalogue is damaged: its {', '.join(damaged)} cannot be read"
    return RunView(id=row["id"], dashboard_url=dashboard_url if found["state"] in UNFINISHED else None, **found)


def as_read(number: int, event: NewEvent) -> EventView:
    """An event that was written as it would be read."""
    return EventView(number, moment(event.time), event.kind, from_json(to_json(event.data, inf_nan_mode="constants")))


def event_view(row: Row) -> EventView:
    """A row of the catalogue as an `EventView`."""
    return EventView(row["id"], moment(row["time"]), row["kind"], row["data"] or {})


def printable(text: str) -> str:
    """The text with what no database can hold, such as half a surrogate pair, replaced."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
