"""Parts of a table, newest first, each starting after a row that need not exist any more."""

from dataclasses import dataclass

from sqlalchemy import Table, tuple_

from storage.catalogue.database import Query


@dataclass(frozen=True)
class PageKey:
    """Where a part of a list ended: the moment of creation [s since 1970] and the id of its last row."""

    created: float
    id: str


def page_of(query: Query, table: Table, after: PageKey | None, limit: int | None) -> Query:
    """``query`` over ``table``, newest first, from the row after ``after`` on, at most ``limit`` rows."""
    ordered = query.order_by(table.c.created.desc(), table.c.id.desc()).limit(limit)
    if after is None:
        return ordered
    return ordered.where(tuple_(table.c.created, table.c.id) < tuple_(after.created, after.id))


def contains(text: str) -> str:
    r"""A pattern of SQL's LIKE, with ``\`` as escape, for whatever contains ``text``."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
