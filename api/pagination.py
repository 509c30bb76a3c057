"""Pages of a list, by a cursor that stays valid while items are added and deleted."""

import base64
import math
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from service.errors import FieldError, InvalidInputError
from service.records.views import PageKey


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


def cursor_of(end: PageKey | None) -> str | None:
    """Where a page ended as an opaque, URL-safe word; None where nothing follows."""
    if end is None:
        return None
    return base64.urlsafe_b64encode(f"{end.created!r}|{end.id}".encode()).decode().rstrip("=")
