"""Parts of a list, by a cursor that survives whatever is added or deleted meanwhile."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Query

from service.errors import FieldError, InvalidInputError


class Listed(Protocol):
    """Anything with an identity and a moment of creation."""

    @property
    def id(self) -> str:
        """Identity."""

    @property
    def created(self) -> Any:
        """Moment of creation, comparable."""


Item = TypeVar("Item", bound=Listed)


@dataclass(frozen=True)
class Paging:
    """Which part of a list is asked for."""

    limit: Annotated[int, Query(ge=1, le=500, description="Most items in one answer.")] = 50
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the part before.")] = None


def part_of(items: Sequence[Item], paging: Paging) -> tuple[list[Item], str | None]:
    """The part of ``items``, newest first, that ``paging`` asks for, and the cursor of the next one.

    Raises
    ------
    InvalidInputError
        The cursor is not one this service gave.
    """
    newest_first = sorted(items, key=key_of, reverse=True)
    if paging.cursor is not None:
        last = decoded(paging.cursor)
        newest_first = [item for item in newest_first if key_of(item) < last]
    part = newest_first[: paging.limit]
    more = len(newest_first) > paging.limit
    return part, encoded(key_of(part[-1])) if more else None


def key_of(item: Listed) -> str:
    """Order of creation, made strict by the identity."""
    return f"{item.created}|{item.id}"


def encoded(key: str) -> str:
    """``key`` as an opaque, URL-safe word."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def decoded(cursor: str) -> str:
    """The key that `encoded` hid."""
    try:
        key = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        key = ""
    if "|" not in key:
        fault = FieldError("cursor", "not a cursor of this service; start again without one")
        raise InvalidInputError(f"{fault.field}: {fault.message}", [fault])
    return key
