"""Lists: what restricts them, and their pages, by a cursor that stays valid while items are added and deleted."""

import base64
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from fastapi import Query
from pydantic import BeforeValidator

from api.schemas.text import Line
from service.errors import FieldError, InvalidInputError
from service.records.views import DatasetFilter, DatasetState, PageKey, RunFilter, RunState


def not_a_year(given: object) -> object:
    """A moment as it was given, but no year alone, which would be taken for seconds since 1970.

    Raises
    ------
    ValueError
    """
    if isinstance(given, str) and re.fullmatch(r"\d{1,4}", given):
        raise ValueError(f"a date is a year, a month and a day, such as 2024-01-31; {given} alone is none")
    return given


Moment: TypeAlias = Annotated[
    datetime | None, Query(description="A date and time, in UTC unless it names its zone."), BeforeValidator(not_a_year)
]


@dataclass(frozen=True)
class Paging:
    """The page of a list that is asked for."""

    limit: Annotated[int, Query(ge=1, le=500, description="Most items in one answer.")] = 50
    cursor: Annotated[str | None, Query(max_length=300, description="`next_cursor` of the page before.")] = None

    @property
    def after(self) -> PageKey | None:
        """Where the page before ended.

        Raises
        ------
        InvalidInputError
            The cursor is not one this service made.
        """
        if self.cursor is None:
            return None
        try:
            text = base64.urlsafe_b64decode(self.cursor + "=" * (-len(self.cursor) % 4)).decode()
            created, _, item_id = text.partition("|")
            key = PageKey(float(created), item_id)
        except ValueError:
            key = PageKey(math.nan, "")
        if not (key.id and math.isfinite(key.created)):
            fault = FieldError("cursor", "not a cursor of this service; start again without one")
            raise InvalidInputError(f"{fault.field}: {fault.message}", [fault])
        return key


@dataclass(frozen=True)
class DatasetQuery:
    """Which datasets are asked for: those to which all that is given applies."""

    q: Annotated[Line | None, Query(description="Part of the title, the sample's name or group, or the id; in any case.")] = None
    element: Annotated[Line | None, Query(description="The absorber.", examples=["V"])] = None
    group: Annotated[Line | None, Query(description="Group of the sample.")] = None
    state: Annotated[DatasetState | None, Query()] = None
    label: Annotated[Line | None, Query(description="One of the labels.")] = None
    since: Moment = None
    until: Moment = None

    @property
    def matching(self) -> DatasetFilter:
        """The filter of the catalogue."""
        moments = seconds(self.since), seconds(self.until)
        return DatasetFilter(self.q, self.element, self.group, self.state, self.label, *moments)


@dataclass(frozen=True)
class RunQuery:
    """Which runs are asked for: those to which all that is given applies."""

    q: Annotated[Line | None, Query(description="Part of the name or the id; in any case.")] = None
    state: Annotated[list[RunState] | None, Query(description="Any of these; may be repeated.")] = None
    dataset: Annotated[Line | None, Query(description="Id of a dataset that the run is on.")] = None
    since: Moment = None
    until: Moment = None

    @property
    def matching(self) -> RunFilter:
        """The filter of the catalogue."""
        return RunFilter(self.q, self.state, self.dataset, seconds(self.since), seconds(self.until))


def seconds(moment: datetime | None) -> float | None:
    """Seconds since 1970 of a moment, which is in UTC unless it names its zone."""
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def cursor_of(end: PageKey | None) -> str | None:
    """Where a page ended as an opaque, URL-safe word; None where nothing follows."""
    if end is None:
        return None
    return base64.urlsafe_b64encode(f"{end.created!r}|{end.id}".encode()).decode().rstrip("=")
