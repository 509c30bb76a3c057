"""Results of a run as files of other programs."""

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from service.errors import FieldError, InvalidInputError, NotFoundError, StorageFullError, is_disk_full
from service.results.mean_spectra import mean_spectra
from storage.errors import ExportError
from storage.exports.formats import FORMATS
from storage.exports.source import Source
from storage.results import ResultsStore

TITLES: Final[Mapping[str, str]] = {name: form.title for name, form in FORMATS.items()}
"""Formats by their names, and what a file of each holds."""


@dataclass(frozen=True)
class Exported:
    """A written file, open for reading and without a name on the disk: it is gone once it is closed."""

    file: BinaryIO
    n_bytes: int
    filename: str
    media_type: str


def write_export(
    store: ResultsStore, run_id: str, datasets: Sequence[str], form: str, dataset: str | None, folder: Path
) -> Exported:
    """Write sealed results in one of `FORMATS`.

    Parameters
    ----------
    store : ResultsStore
    run_id : str
    datasets : sequence of str
        Those of the run.
    form : str
        Name of the format.
    dataset : str, optional
        The only one that is exported.
    folder : Path
        Where the file is written.

    Raises
    ------
    NotFoundError
        The run has no such dataset.
    InvalidInputError
        An unknown format, or results that do not fit into it.
    StorageFullError
        The disk filled up.
    """
    if form not in FORMATS:
        message = f"must be one of {', '.join(FORMATS)}, got {form[:40]!r}"
        raise InvalidInputError(f"format {message}", [FieldError("format", message)])
    if dataset is not None and dataset not in datasets:
        raise NotFoundError(f"run {run_id} is not on a dataset {dataset}")
    path = folder / f"{secrets.token_hex(16)}.part"
    try:
        source = Source(store, run_id, datasets if dataset is None else [dataset])
        if FORMATS[form].has_spectra:
            source = replace(source, spectra={one: mean_spectra(source, one) for one in source.datasets})
        FORMATS[form].write(source, path)
        file = path.open("rb")
    except ExportError as error:
        raise InvalidInputError.of(FieldError(error.field, str(error))) from error
    except OSError as error:
        if is_disk_full(error):
            raise StorageFullError("the disk filled up while the export was written; nothing of it was kept") from error
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    name = "-".join(filter(None, (run_id, dataset, form)))
    return Exported(file, file.seek(0, 2), f"{name}{FORMATS[form].suffix}", FORMATS[form].media_type)
