"""Probe positions in a file of their own, beside frames that a detector wrote.

========  =============================================================================================================
form      content
========  =============================================================================================================
HDF5      an array ``positions_m`` (P, 2), (y, x), with its unit as attribute, else metres
NPZ       likewise, as member ``positions_m.npy``
NPY       (P, 2) or (2, P), (y, x) [m]
text      columns, separated by blanks, commas or semicolons, under a first line that names them ``y_m`` and ``x_m`` (or
          ``y_um``, ``x (mm)``, ``x [nm]``, ...)
orchestra text whose second line names ``Average_x_st_fzp`` and ``Average_y_st_fzp`` [um] (cSAXS, LYNX); they are the
          stage's, so the probe is at their negatives
Velociprobe  lines of at least eight integers, separated by commas: x [nm] in the second, y [nm] of the interferometer in the
          third, the number of the frame in the eighth; the mean of a frame's lines is taken
========  =============================================================================================================
"""

import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.errors import FieldError, InvalidScanError
from storage.readers.containers.archive import open_archive
from storage.readers.containers.hdf5 import find_node, is_hdf5, open_hdf5
from storage.readers.containers.npy import NpyMember, is_npy, npy_names, read_npy
from storage.readers.fields import Fields
from storage.readers.record import DAMAGE, Node
from storage.readers.units import LENGTHS_M, UnitError, factor_of, quoted

MAX_TEXT_BYTES: Final = 64 * 2**20
NAME: Final = "positions_m"
VELOCIPROBE_COLUMNS: Final = 8
VELOCIPROBE_YX_FRAME: Final = (2, 1, 7)
UM: Final = 1e-6
NM: Final = 1e-9
COLUMN: Final = re.compile(r"([yx])_(\w+)")
BRACKETED: Final = re.compile(r"\s*[\[(]([^\])]+)[\])]")
"""A unit as spreadsheets have it: "x (um)" is read as "x_um"."""


def read_positions(path: Path, fields: Fields) -> NDArray[np.float64] | None:
    """Read (P, 2) positions (y, x) [m] from a file in any of the forms above; faults go to ``fields``.

    Raises
    ------
    InvalidScanError
        The file is in none of the forms.
    """
    try:
        with _find_positions(path) as find:
            found = Fields(find)
            positions = found.positions_m(NAME, order="yx")
    except InvalidScanError:
        raise
    except DAMAGE as error:
        raise InvalidScanError([FieldError(NAME, f"cannot be read from {path.name}: {error}")]) from error
    fields.faults += [FieldError(NAME, f"{fault.message} (in {path.name})") for fault in found.faults]
    return positions


@contextmanager
def _find_positions(path: Path) -> Iterator[Callable[[str], Node | None]]:
    with ExitStack() as stack:
        if is_hdf5(path):
            file = stack.enter_context(open_hdf5(path))
            yield lambda name: find_node(file, name)
        elif zipfile.is_zipfile(path):
            archive = stack.enter_context(open_archive(path))
            members = npy_names(archive)
            yield lambda name: NpyMember(archive, members[name]) if name in members else None
        else:
            array: Any = read_npy(path) if is_npy(path) else _read_text(path)
            yield lambda name: array if name == NAME else None


def _read_text(path: Path) -> NDArray[np.float64]:
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError(f"text of more than {MAX_TEXT_BYTES // 2**20} MiB")
    # "utf-8-sig" drops the byte order mark that spreadsheets write.
    lines = path.read_bytes().decode("utf-8-sig", "replace").splitlines()
    if len(lines) > 1 and {f"average_{axis}_st_fzp" for axis in "yx"} <= set(_split(lines[1].strip("# \t").lower())):
        return _read_orchestra(lines)
    names = _split(BRACKETED.sub(r"_\1", lines[0].strip("#; \t").lower())) if lines else []
    columns = _columns_yx(names)
    if columns is not None:
        rows = _rows(lines, 1, len(names))
        numbers = [[_number(row, column, line) * factor for column, factor in columns] for line, row in rows]
        return np.array(numbers, np.float64).reshape(-1, 2)
    rows_of_integers = [line.split(",") for line in lines if line.strip() and not line.startswith("#")]
    if rows_of_integers and all(len(row) >= VELOCIPROBE_COLUMNS for row in rows_of_integers):
        return _read_velociprobe(rows_of_integers)
    raise ValueError(f"the first line must name the columns y_m and x_m, got {quoted(lines[0] if lines else '')}")


def _columns_yx(names: list[str]) -> list[tuple[int, float]] | None:
    """Column and factor to metres of y, then of x; None where the names are not those of both.

    Raises
    ------
    ValueError
        Two columns are of one axis, or those of one have units that are no lengths.
    """
    found: dict[str, list[tuple[int, str]]] = {"y": [], "x": []}
    for index, name in enumerate(names):
        if match := COLUMN.fullmatch(name):
            found[match[1]].append((index, match[2]))
    if not all(found.values()):
        return None
    chosen = []
    for axis, columns in found.items():
        lengths = [(index, unit) for index, unit in columns if _is_length(unit)] or columns
        if len(lengths) > 1:
            names_of_axis = ", ".join(quoted(names[index]) for index, _ in lengths)
            raise ValueError(f"which column is {axis}, {names_of_axis}? Name one alone as a length, such as {axis}_um")
        ((index, unit),) = lengths
        chosen.append((index, _factor(unit)))
    return chosen


def _read_orchestra(lines: list[str]) -> NDArray[np.float64]:
    """(P, 2) positions (y, x) [m] of the probe, the negatives of the stage's."""
    names = _split(lines[1].strip("# \t").lower())
    rows = _rows(lines, 2, len(names))
    columns = [names.index(f"average_{axis}_st_fzp") for axis in "yx"]
    return -UM * np.array([[_number(row, column, line) for column in columns] for line, row in rows]).reshape(-1, 2)


def _read_velociprobe(rows: list[list[str]]) -> NDArray[np.float64]:
    """(P, 2) positions (y, x) [m]: the mean of the lines of each frame, in the order of the frames."""
    try:
        table = np.array([[int(row[column]) for column in VELOCIPROBE_YX_FRAME] for row in rows])
    except ValueError as error:
        raise ValueError(f"lines of eight and more columns must hold integers, as Velociprobe writes them: {error}") from error
    frames, where = np.unique(table[:, 2], return_inverse=True)
    counts = np.bincount(where, minlength=len(frames))
    return np.stack([NM * np.bincount(where, table[:, axis]) / counts for axis in (0, 1)], axis=1)


def _rows(lines: list[str], first: int, n_columns: int) -> list[tuple[int, list[str]]]:
    """Numbers of the lines from ``first`` on that are not blank, and their words, as many as columns are named."""
    rows = [(number, _split(line.strip())) for number, line in enumerate(lines[first:], first + 1) if line.strip()]
    for number, row in rows:
        if len(row) > n_columns:
            raise ValueError(
                f"line {number} has {len(row)} numbers under {n_columns} names: name every column, and write decimals with a "
                "point"
            )
    return rows


def _split(line: str) -> list[str]:
    return re.split(r"[,;\s]+", line)


def _is_length(unit: str) -> bool:
    try:
        return bool(factor_of(unit, LENGTHS_M, "length"))
    except UnitError:
        return False


def _factor(unit: str) -> float:
    try:
        return factor_of(unit, LENGTHS_M, "length")
    except UnitError as error:
        raise ValueError(f"column {quoted(unit)}: {error}") from error


def _number(row: list[str], column: int, line: int) -> float:
    try:
        return float(row[column])
    except (IndexError, ValueError) as error:
        raise ValueError(f"line {line} has no number in column {column + 1}") from error


def holds_positions(path: Path) -> bool:
    """Whether a file is in one of the forms above, by its header alone."""
    try:
        with _find_positions(path) as find:
            return find(NAME) is not None
    except (InvalidScanError, *DAMAGE):
        return False
