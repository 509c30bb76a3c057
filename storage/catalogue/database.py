"""The connection to the catalogue's database, and what SQLite needs to be safe."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from sqlalchemy import URL, Engine, Select, create_engine, event, select
from sqlalchemy.engine import Connection, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, ProgrammingError

from storage.catalogue.schema import upgrade
from storage.errors import CatalogueBusyError, CatalogueError, CatalogueFullError, CatalogueUnavailableError

NETWORK_FILE_SYSTEMS: Final = (
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "afs", "9p", "glusterfs", "fuse.sshfs",
    "fuse.glusterfs", "fuse.beegfs",
)  # fmt: skip
"""File systems on which SQLite's write-ahead log, which needs shared memory, loses data between machines."""

BUSY_TIMEOUT_S: Final = 30
MOST_CHECKED_BYTES: Final = 32 << 20
MIN_ROOM_BYTES: Final = 1 << 20
"""With less of the disk free than this, SQLite cannot even open a catalogue."""

Row: TypeAlias = dict[str, Any]
"""A row of a table, by the names of its columns."""
Query: TypeAlias = "Select[*tuple[Any, ...]]"
"""A SELECT of any columns."""


class Database:
    """The open database: transactions that read and transactions that write.

    Raises
    ------
    CatalogueError
        See `connect`.
    """

    def __init__(self, url: str) -> None:
        self._engine = connect(url)
        self._reading = self._engine.execution_options(single=True)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def is_ready(self) -> bool:
        """Whether the database answers and, if it is SQLite, its file is whole."""
        try:
            self.rows(select(1))
            if self._engine.url.get_backend_name() == "sqlite":
                check_file(Path(self._engine.url.database or ""))
        except (CatalogueError, sqlite3.Error, DBAPIError, OSError):
            return False
        return True

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes, committed when the block ends well; SQLite's writers take turns from its start."""
        with self._engine.connect().execution_options(write=True) as connection, connection.begin():
            yield connection

    def rows(self, query: Query, **parameters: object) -> list[Row]:
        """All rows of one query, which needs no transaction; ``parameters`` are those that it names."""
        with self._reading.connect() as connection:
            return [dict(row) for row in connection.execute(query, parameters).mappings()]


def check_file(path: Path) -> None:
    """Check a SQLite file through a connection of its own, as an open one may still read what it has in memory.

    A file of more than ``MOST_CHECKED_BYTES`` is only opened: a whole check of it would take seconds.

    Raises
    ------
    sqlite3.Error, OSError
        The file is not there, or is no database.
    CatalogueError
        It is damaged.
    """
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone() is None:
            raise CatalogueError(f"the catalogue {path} has lost its tables")
        if path.stat().st_size <= MOST_CHECKED_BYTES:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise CatalogueError(f"the catalogue {path} is damaged: {found}")


def connect(url: str) -> Engine:
    """Open the database and bring its tables up to date.

    Raises
    ------
    CatalogueError
        The URL is not one, the database does not answer, is newer, or is SQLite on a network file system.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise CatalogueError(f"not a database URL: {error}") from error
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise CatalogueError("a catalogue in memory loses every run; give a file, sqlite:////path/to/catalogue.db")
        refuse_network(Path(parsed.database))
        engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        engine = create_engine(parsed, pool_pre_ping=True)
    try:
        with engine.connect().execution_options(write=True) as connection, connection.begin():
            upgrade(connection)
    except DBAPIError as error:
        engine.dispose()
        raise CatalogueError(f"the catalogue's database cannot be used: {error.orig}{likely_cause(parsed)}") from error
    except CatalogueError:
        engine.dispose()
        raise
    event.listen(engine, "handle_error", _name_outage, retval=True)
    return engine


def likely_cause(url: URL) -> str:
    """Why a SQLite catalogue cannot be opened, as far as its file and its disk tell, to follow what SQLite says; else ""."""
    if url.get_backend_name() != "sqlite":
        return ""
    path = Path(url.database or "")
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    if shutil.disk_usage(path.parent).free < MIN_ROOM_BYTES:
        return f"; the disk of {path.parent} is full: make room on it, then start again"
    files = (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm")))
    barred = next((file for file in files if file.exists() and not os.access(file, os.R_OK | os.W_OK)), None)
    return f"; {barred} is read-only, or belongs to another user" if barred else ""


def back_up(url: str, target: Path) -> None:
    """Copy a SQLite catalogue, whole and consistent, while it is in use.

    Raises
    ------
    CatalogueError
        It is no SQLite, it is not there, or ``target`` is there already.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise CatalogueError(f"{parsed.render_as_string()} is no SQLite file: back it up with its own tools, e.g. pg_dump")
    if not Path(parsed.database).is_file():
        raise CatalogueError(f"there is no catalogue at {parsed.database}")
    if target.exists():
        raise CatalogueError(f"{target} is already there")
    partial = target.with_name(f"{target.name}.partial")
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(parsed.database, timeout=BUSY_TIMEOUT_S)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
        found = copy.execute("PRAGMA integrity_check").fetchone()[0]
    if found != "ok":
        raise CatalogueError(f"the catalogue is damaged: {found}")
    os.replace(partial, target)


def refuse_network(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> None:
    """Refuse a file on a network file system.

    Raises
    ------
    CatalogueError
    """
    if not mounts.is_file():
        return
    folder, found, kind = path.absolute().parent.resolve(), Path("/"), ""
    for line in mounts.read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(fields.split()[4].encode().decode("unicode_escape"))
        if folder.is_relative_to(point) and point.is_relative_to(found):
            found, kind = point, rest.split()[0]
    if kind in NETWORK_FILE_SYSTEMS:
        raise CatalogueError(
            f"{path} is on {kind}, a network file system, where SQLite can lose data; put the catalogue on a local "
            "disk, or use PostgreSQL"
        )


def _name_outage(context: ExceptionContext) -> BaseException | None:
    """The error that names why the database failed; None where the statement was at fault."""
    cause = context.original_exception
    if isinstance(context.sqlalchemy_exception, IntegrityError | ProgrammingError):
        return None
    sqlite_code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    state = getattr(cause, "sqlstate", None)
    if sqlite_code == sqlite3.SQLITE_FULL or state == "53100":
        return CatalogueFullError(f"there is no room on the disk for the catalogue to grow, nothing was written: {cause}")
    if sqlite_code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or state == "55P03":
        return CatalogueBusyError(f"another process has locked the catalogue for too long, nothing was written: {cause}")
    return CatalogueUnavailableError(f"the catalogue's database cannot be used: {cause}")


def _configure_sqlite(connection: Any, _: Any) -> None:
    # Python's sqlite3 begins transactions late, which turns a read into a write that cannot wait; we begin them.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_S * 1000}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("single", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("write", False) else "BEGIN")
