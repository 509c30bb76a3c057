"""Exported files: gone from the disk once they are read, and nothing left of those that failed."""

import errno
from pathlib import Path

import pytest
from published import write_published

from service.errors import InvalidInputError, StorageFullError
from service.results.exports import write_export
from storage.errors import ExportError
from storage.exports.formats import FORMATS, ExportFormat
from storage.exports.source import Source
from storage.results import ResultsStore


@pytest.fixture
def store(tmp_path: Path) -> ResultsStore:
    write_published(tmp_path / "results.zarr", ["ds_a"], (12, 15), n_energies=3)
    return ResultsStore(tmp_path / "results.zarr")


def test_a_file_can_be_read_and_has_no_name(store: ResultsStore, tmp_path: Path) -> None:
    found = write_export(store, "run_1", ["ds_a"], "xdi", None, tmp_path)
    with found.file as file:
        file.seek(0)
        assert len(file.read()) == found.n_bytes > 0
    assert (found.filename, list(tmp_path.glob("*.part"))) == ("run_1-xdi.zip", [])


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OSError(errno.ENOSPC, "no space left"), StorageFullError),
        (ExportError("format", "does not fit"), InvalidInputError),
    ],
)
def test_nothing_is_left_of_what_could_not_be_written(
    store: ResultsStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception]
) -> None:
    def write(source: Source, path: Path) -> None:
        path.write_bytes(b"half")
        raise raised

    monkeypatch.setitem(FORMATS, "xdi", ExportFormat(".zip", "application/zip", "half", write))
    with pytest.raises(expected):
        write_export(store, "run_1", ["ds_a"], "xdi", None, tmp_path)
    assert list(tmp_path.glob("*.part")) == []
