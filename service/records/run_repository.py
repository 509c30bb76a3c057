"""What is written down of runs: the catalogue, in the words of the service."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import TypeAdapter

from service.api_keys import DEFAULT_PROJECT
from service.records.views import UNFINISHED, EventView, RunState, RunView, StageView
from storage.catalogue.catalogue import Catalogue
from tasks.options import RunOptions

OPTIONS: Final = TypeAdapter(RunOptions)
MOST_NOTES: Final = 100_000


@dataclass(frozen=True)
class RunRecord:
    """What the orchestrator must know of a run."""

    id: str
    datasets: tuple[str, ...]
    options: RunOptions


class RunRepository:
    """Runs and their events; used from the threads of the API and of the orchestrator alike."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._last_progress: dict[str, Any] = {}

    def open_run(
        self, run_id: str, name: str, dataset_ids: Sequence[str], options: RunOptions, project: str = DEFAULT_PROJECT
    ) -> None:
        """Write a new run of a project down, as queued."""
        self.catalogue.create_run(run_id, name, dataset_ids, OPTIONS.dump_python(options, mode="json"), project)
        self.add_event(run_id, "state", {"state": "queued"})

    def unfinished_runs(self) -> list[RunRecord]:
        """Runs that are queued or running, oldest first."""
        return [
            RunRecord(row["id"], tuple(row["datasets"]), OPTIONS.validate_python(row["options"]))
            for row in self.catalogue.unfinished_runs()
        ]

    def begin_run(self, run_id: str) -> None:
        """A run starts, or goes on after a restart."""
        if self.catalogue.change_run_state(run_id, ("queued",), "running", started=now(), error=None):
            self.add_event(run_id, "state", {"state": "running"})

    def end_run(self, run_id: str, state: RunState, error: str | None) -> None:
        """A run ends, for good or until it is tried again."""
        if self.catalogue.change_run_state(run_id, UNFINISHED, state, finished=now(), error=error, eta_s=None):
            self.add_event(run_id, "state", {"state": state, "error": error})
        self._last_progress.pop(run_id, None)

    def reopen_run(self, run_id: str) -> bool:
        """Queue a failed or cancelled run again; False where it is in another state."""
        changed = self.catalogue.change_run_state(
            run_id, ("failed", "cancelled"), "queued", finished=None, started=None, error=None
        )
        if changed:
            self.add_event(run_id, "state", {"state": "queued"})
        return changed

    def write_progress(self, run_id: str, progress: float, eta_s: float | None, stages: Sequence[StageView]) -> None:
        """Write down how far a run is, and tell of it where it moved."""
        told = {"progress": round(progress, 4), "stages": [asdict(stage) for stage in stages]}
        if self._last_progress.get(run_id) == told:
            return
        self._last_progress[run_id] = told
        self.catalogue.update_run(run_id, progress=progress, eta_s=eta_s, stages=told["stages"])
        self.add_event(run_id, "progress", {**told, "eta_s": eta_s})

    def add_event(self, run_id: str, kind: str, data: Mapping[str, Any]) -> None:
        """Tell of something that happened to a run."""
        self.catalogue.add_event(run_id, kind, data)

    def events(self, run_id: str, after: int) -> list[EventView]:
        """Events of a run with an id above ``after``, oldest first."""
        return [
            EventView(row["id"], moment(row["time"]), row["kind"], row["data"])
            for row in self.catalogue.events_after(run_id, after)
        ]

    def notes(self, run_id: str) -> set[str]:
        """Texts of all notes that a run has been told."""
        return {row["data"]["text"] for row in self.catalogue.events_after(run_id, limit=MOST_NOTES, kind="note")}

    def view(self, run_id: str, dashboard_url: str | None = None, project: str | None = None) -> RunView | None:
        """A run as it stands; None where there is none of that name, or not in that project."""
        row = self.catalogue.run(run_id, project)
        return None if row is None else view_of(row, dashboard_url)

    def views(self, dashboard_url: str | None = None, project: str | None = None) -> list[RunView]:
        """All runs, or those of a project, oldest first."""
        return [view_of(row, dashboard_url) for row in reversed(self.catalogue.all_runs(project))]

    def users_of(self, dataset_id: str) -> list[str]:
        """Runs on a dataset that have not ended."""
        return [row["id"] for row in self.catalogue.runs_of_dataset(dataset_id) if row["state"] in UNFINISHED]


def view_of(row: Mapping[str, Any], dashboard_url: str | None) -> RunView:
    """A row of the catalogue as a `RunView`."""
    return RunView(
        id=row["id"],
        name=row["name"],
        state=row["state"],
        stages=tuple(StageView(**stage) for stage in row["stages"]),
        progress=row["progress"],
        eta_s=row["eta_s"],
        dashboard_url=dashboard_url if row["state"] in UNFINISHED else None,
        error=row["error"],
        datasets=tuple(row["datasets"]),
        options=row["options"],
        created=moment(row["created"]),
        started=None if row["started"] is None else moment(row["started"]),
        finished=None if row["finished"] is None else moment(row["finished"]),
    )


def moment(seconds: float) -> datetime:
    """A time in seconds since 1970, as a date."""
    return datetime.fromtimestamp(seconds, UTC)


def now() -> float:
    """Seconds since 1970."""
    return datetime.now(UTC).timestamp()
