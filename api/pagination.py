"""Pages of a list, by a cursor that stays valid while items are added and deleted."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Query

from service.errors import FieldError, InvalidInputError


class Listed(Protocol):
    """An item with an identity and a time of creation."""

    @property
    def id(self) -> str:
        """Identity."""

    @property
    def created(self) -> Any:
        """Time of creation, comparable."""


Item = TypeVar("Item", bound=Listed)


@dataclass(frozen=True)
class Paging:
    """The page of a list that is asked for."""

    limit: Annotated[int, Query(ge=1, le=500, description="Most items in one answer.")] = 50
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None


def part_of(items: Sequence[Item], paging: Paging) -> tuple[list[Item], str | None]:
    """The page of ``items``, newest first, that ``paging`` asks for, and the cursor of the next page.

    Raises
    ------
    InvalidInputError
        The cursor is not one that this service made.
    """
    newest_first = sorted(items, key=key_of, reverse=True)
    if paging.cursor is not None:
        last = decoded(paging.cursor)
        newest_first = [item for item in newest_first if key_of(item) < last]
    part = newest_first[: paging.limit]
    more = len(newest_first) > paging.limit
    return part, encoded(key_of(part[-1])) if more else None


def key_of(item: Listed) -> str:
    """Sort key: time of creation, then identity."""
    return f"{item.created}|{item.id}"


def encoded(key: str) -> str:
    """``key`` as opaque, URL-safe text."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decoded(cursor: str) -> str:
    """The key in a cursor that `encoded` made."""
    try:
        key = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        key = ""
    if "|" not in key:
        fault = FieldError("cursor", "not a cursor of this service; start again without one")
        raise InvalidInputError(f"{fault.field}: {fault.message}", [fault])
    return key
