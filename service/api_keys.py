"""API keys: each belongs to one project and has a scope and perhaps a last day; only their digests are stored.

The file holds one key a line: the SHA-256 of the key, its scope, its project, its last day (or ``never``) and a name.
A key is 256 random bits, so that a plain digest is as good as a slow one.
"""

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, Literal, cast, get_args

from storage.atomic import write_file

Scope = Literal["read", "write", "admin"]
"""What a key may do, each scope including those before it: look; create, run and delete; see all projects' state."""
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
DEFAULT_PROJECT: Final = "default"

PROJECT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names of projects, safe as the name of a folder."""
LINE: Final = re.compile(r"([0-9a-f]{64})\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S.*)")
HEAD: Final = "# SHA-256 of the key, scope, project, last day, name\n"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Key:
    """One key without its secret; ``last_day`` is the last day (UTC) on which it is valid."""

    digest: str
    name: str
    project: str = DEFAULT_PROJECT
    scope: Scope = "write"
    last_day: date | None = None

    @property
    def id(self) -> str:
        """Name of the key in lists; the secret does not follow from it."""
        return self.digest[:8]

    def is_valid(self, today: date | None = None) -> bool:
        """Whether its last day has not passed."""
        return self.last_day is None or (today or datetime.now(UTC).date()) <= self.last_day

    def may(self, scope: Scope) -> bool:
        """Whether its scope includes ``scope``."""
        return SCOPES.index(scope) <= SCOPES.index(self.scope)

    def line(self) -> str:
        """The key as a line of the file."""
        return f"{self.digest} {self.scope} {self.project} {self.last_day or 'never'} {self.name}"


class ApiKeys:
    """The keys of a file, which is read again whenever it changes, so that a revoked key is invalid at once.

    Raises
    ------
    ValueError, OSError
        The file cannot be read when the service starts. Later, no key is valid until it can be read again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._keys: Sequence[Key] = read_keys(path)
        self._seen = self._stamp()

    def find(self, secret: str) -> Key | None:
        """The valid key of that secret; every key is compared, in constant time, so that the time taken reveals nothing."""
        given, found = digest_of_key(secret), None
        for key in self._current():
            if hmac.compare_digest(given, key.digest):
                found = key
        return found if found is not None and found.is_valid() else None

    def is_valid(self, key: Key) -> bool:
        """Whether a key that was found before is still in the file, unchanged, and not expired."""
        return key in self._current() and key.is_valid()

    def _current(self) -> Sequence[Key]:
        with self._guard:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                try:
                    self._keys = read_keys(self._path)
                except (OSError, ValueError) as error:
                    log.error("no API key is valid until the keys file can be read: %s", error)
                    self._keys = ()
            return self._keys

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def make_key() -> tuple[str, str]:
    """A new key and its digest."""
    key = f"ptyxas_{secrets.token_urlsafe(32)}"
    return key, digest_of_key(key)


def digest_of_key(key: str) -> str:
    """SHA-256 of ``key``, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> list[Key]:
    """The keys in the file at ``path``; empty lines and lines that begin with ``#`` are skipped.

    Raises
    ------
    ValueError
        A line is no key, or the file holds no keys.
    """
    keys = _read_lines(path)
    if not keys:
        raise ValueError(f"{path} holds no keys")
    return keys


def _read_lines(path: Path) -> list[Key]:
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    return [read_line(line, f"{path}, line {n}") for n, line in lines if line.strip() and not line.lstrip().startswith("#")]


def change_keys(path: Path, change: Callable[[list[Key]], Sequence[Key]]) -> None:
    """Replace the keys in the file at ``path`` by ``change`` of them, while no other process may change them.

    Raises
    ------
    ValueError, OSError
        The file is there and cannot be read, or ``change`` refuses.
    """
    # The lock is a file of its own, because writing replaces the file of the keys.
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        write_keys(path, change(_read_lines(path) if path.exists() else []))
    finally:
        os.close(descriptor)


def read_line(line: str, place: str) -> Key:
    """One line of the file as a key.

    Raises
    ------
    ValueError
    """
    match = LINE.fullmatch(line.strip())
    if match is None or match[2] not in SCOPES or not PROJECT.fullmatch(match[3]):
        raise ValueError(f"{place}: of keys expected are SHA-256, {' | '.join(SCOPES)}, project, last day or never, name")
    try:
        last_day = None if match[4] == "never" else date.fromisoformat(match[4])
    except ValueError as error:
        raise ValueError(f"{place}: the keys' last day is YYYY-MM-DD or never, got {match[4]!r}") from error
    return Key(match[1], match[5], match[3], cast(Scope, match[2]), last_day)


def write_keys(path: Path, keys: Sequence[Key]) -> None:
    """Replace the file at ``path`` in one step; only its owner may read it."""
    text = HEAD + "".join(f"{key.line()}\n" for key in keys)
    write_file(path, text.encode(), mode=0o600)


def local_token(path: Path) -> str:
    """Token of a service without keys, which its user may pass on; made where ``path`` is not there.

    The file is readable by its owner only.
    """
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        write_file(path, f"{secrets.token_urlsafe(24)}\n".encode(), mode=0o600)
        return path.read_text(encoding="ascii").strip()
