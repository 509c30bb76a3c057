"""The process that parses one file: its limits hold, and whatever becomes of it is told in plain words."""

import errno
import io
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from service.errors import ConflictError, InvalidInputError, NotFoundError, StorageFullError
from service.uploads.sandbox import (
    IngestLimits,
    IngestRequest,
    exit_reason,
    ingest,
    read_file,
    read_reply,
    receive_reply,
    tidy_sockets,
)
from storage.datasets.store import DatasetStore

LIMITS = IngestLimits(memory_bytes=1 << 30, timeout_s=5, output_bytes=1 << 20)
PRELUDE = "from service.uploads.sandbox import IngestLimits, set_limits; set_limits(IngestLimits({}, {}, {}));"


STARTED_AHEAD = """
import sys
import psutil
from pathlib import Path
from service.errors import NotFoundError
from service.uploads.sandbox import IngestRequest, ingest, start_ahead

def servers():
    return [child.pid for child in psutil.Process().children() if "forkserver" in " ".join(child.cmdline())]

start_ahead()
before = servers()
try:
    ingest(IngestRequest(Path(sys.argv[1]), "ds_a", "a", sys.argv[1]), memory_bytes=4 << 30, timeout_s=60)
except NotFoundError:
    print(len(before), servers() == before)
"""


def under_limits(code: str, memory: int = 4 << 30, seconds: int = 60, output: int = 1 << 30) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PRELUDE.format(memory, seconds, output) + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_memory_is_limited() -> None:
    assert "MemoryError" in under_limits("bytearray(5 << 30)").stderr


def test_time_is_limited() -> None:
    assert under_limits("exec('while True: pass')", seconds=1).returncode in (-signal.SIGXCPU, -signal.SIGKILL)


def test_what_is_written_is_limited() -> None:
    done = under_limits("import tempfile; f = tempfile.TemporaryFile(); f.write(bytes(2 << 20)); f.flush()", output=1 << 20)
    assert "too large" in done.stderr.lower() or done.returncode == -signal.SIGXFSZ


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [(None, "longer"), (-signal.SIGXCPU, "longer"), (-signal.SIGXFSZ, "proportion"), (-signal.SIGSEGV, "damaged")],
)
def test_a_death_is_told_in_plain_words(exit_code: int | None, words: str) -> None:
    message, faults = exit_reason(exit_code, LIMITS)
    assert words in message
    assert faults[0].field == "file"


@pytest.mark.parametrize(
    ("kind", "error"), [("invalid", InvalidInputError), ("conflict", ConflictError), ("missing", NotFoundError)]
)
def test_refusals_become_errors(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="no"):
        read_reply({"kind": kind, "message": "no", "faults": [{"field": "counts", "message": "no"}]})


@pytest.mark.parametrize("answer", [b"no JSON", None])
def test_a_child_that_answers_nonsense_or_nothing_has_given_no_answer(answer: bytes | None) -> None:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    if answer is not None:
        theirs.send_bytes(answer)
    theirs.close()
    assert receive_reply(ours, 5) is None
    ours.close()


def test_the_server_of_the_children_is_started_before_the_first_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTED_AHEAD, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.split() == ["1", "True"]


def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    store = DatasetStore(tmp_path / "datasets")
    store.create("ds_a", {"probe": None})
    file = io.BytesIO()
    np.savez(file, counts=np.zeros((9, 32, 32), np.uint16))
    path = tmp_path / "scan.npz"
    path.write_bytes(file.getvalue())
    with pytest.raises(InvalidInputError, match="longer than"):
        ingest(IngestRequest(store.root, "ds_a", "a", str(path)), memory_bytes=4 << 30, timeout_s=1e-6)


def test_a_full_disk_is_not_the_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DatasetStore(tmp_path / "datasets")
    store.create("ds_a", {"probe": None})

    def fill_up(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(DatasetStore, "add_scan", fill_up)
    reply = read_file(IngestRequest(store.root, "ds_a", "a", str(tmp_path / "scan.npz")))
    with pytest.raises(StorageFullError, match="filled up"):
        read_reply(reply)


def test_an_error_of_the_decoder_names_its_likely_causes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DatasetStore(tmp_path / "datasets")
    store.create("ds_a", {"probe": None})

    def fail(*_: object, **__: object) -> NoReturn:
        raise OSError("Can't synchronously read data (filter returned failure during read)")

    monkeypatch.setattr(DatasetStore, "add_scan", fail)
    reply = read_file(IngestRequest(store.root, "ds_a", "a", str(tmp_path / "scan.npz")))
    with pytest.raises(InvalidInputError, match=r"damaged or cut short, or .* needs more memory"):
        read_reply(reply)


def test_sockets_of_a_killed_service_are_removed(tmp_path: Path) -> None:
    note, left, other = tmp_path / "note", tmp_path / "pymp-left", tmp_path / "something-else"
    for folder in (left, other):
        folder.mkdir()
        (folder / "listener-1").touch()
    tidy_sockets(note)
    own = Path(note.read_text())
    assert own.is_dir()
    for folder in (own, left, other):
        note.write_text(str(folder))
        tidy_sockets(note)
        assert Path(note.read_text()) == own
    assert (own.is_dir(), left.exists(), other.exists()) == (True, False, True)
