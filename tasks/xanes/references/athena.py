"""Spectra in projects of Athena (``.prj``), as Demeter and larch write them: gzip of Perl assignments, or of JSON.

A record has ``x`` [eV], ``y``, and ``args``, pairs of names and values: ``label``, ``bkg_z`` (element), ``fft_edge``,
``bkg_eshift`` [eV], which is added to x, and ``is_chi``, ``is_rsp``, ``is_qsp``, which say that y is no absorption. Nothing of a
project is executed.

Sources: Ravel & Newville, J. Synchrotron Rad. 2005, 12, 537, and the Demeter and larch manuals, "Athena project files".
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.references.xdi import MAX_BYTES, Reference, ReferenceFormatError, ordered

GZIP: Final = b"\x1f\x8b"
HEADER: Final = "Athena project file"
ASSIGNMENT: Final = re.compile(r"^[@$](\w+)\s*=\s*(.*);\s*$", re.M)
VALUE: Final = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"|([^\s,()'\"]+)")
NO_ABSORPTION: Final = ("is_chi", "is_rsp", "is_qsp", "is_diff")
MOST_RECORDS: Final = 500

Record = Mapping[str, Any]


def is_project(content: bytes) -> bool:
    """Whether a file is a project of Athena."""
    try:
        return HEADER in _text(content)[:1000]
    except ReferenceFormatError:
        return False


def read_project(content: bytes) -> list[Reference]:
    """Every absorption spectrum of a project, in its order.

    Raises
    ------
    ReferenceFormatError
        Damaged, larger than 16 MiB when unpacked, or without a spectrum of absorption.
    """
    text = _text(content)
    records = list(_json_records(text) if text.lstrip().startswith("{") else _perl_records(text))
    found = [_reference(record) for record in records[:MOST_RECORDS] if not any(_is_true(record, name) for name in NO_ABSORPTION)]
    if not found:
        raise ReferenceFormatError(f"the project holds no spectrum of absorption among its {len(records)} records")
    return found


def _text(content: bytes) -> str:
    if content.startswith(GZIP):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
                content = file.read(MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ReferenceFormatError(f"the project is damaged: {error}") from error
    if len(content) > MAX_BYTES:
        raise ReferenceFormatError(f"a project must be at most {MAX_BYTES} bytes unpacked")
    return content.decode("utf-8", errors="replace")


def _json_records(text: str) -> Iterator[Record]:
    try:
        project = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReferenceFormatError(f"the project is no JSON: {error}") from error
    for group in project.values() if isinstance(project, dict) else ():
        if isinstance(group, dict) and {"args", "x", "y"} <= group.keys():
            yield {**_pairs(group["args"]), "x": group["x"], "y": group["y"]}


def _perl_records(text: str) -> Iterator[Record]:
    record: dict[str, Any] = {}
    for name, value in ASSIGNMENT.findall(text):
        if name == "old_group":
            if {"x", "y"} <= record.keys():
                yield record
            record = {}
        elif name in ("args", "x", "y"):
            values = [re.sub(r"\\(.)", r"\1", single or double or bare) for single, double, bare in VALUE.findall(value)]
            record |= _pairs(values) if name == "args" else {name: values}
    if {"x", "y"} <= record.keys():
        yield record


def _pairs(args: Any) -> dict[str, Any]:
    if isinstance(args, dict):
        return {str(name): value for name, value in args.items()}
    return {str(name): value for name, value in zip(args[::2], args[1::2], strict=False)} if isinstance(args, list) else {}


def _is_true(record: Record, name: str) -> bool:
    return str(record.get(name, 0)).strip().lower() not in ("", "0", "none", "false", "undef", "null")


def _reference(record: Record) -> Reference:
    name = str(record.get("label") or "reference")[:100]
    energy_ev, absorption = (_numbers(record[axis], f"{axis} of {name!r}") for axis in "xy")
    if energy_ev.shape != absorption.shape:
        raise ReferenceFormatError(
            f"x and y of {name!r} must be as long as each other, got {energy_ev.size} and {absorption.size}"
        )
    shift_ev = _numbers([record.get("bkg_eshift") or 0], f"bkg_eshift of {name!r}")[0]
    element, edge = (str(record.get(key) or "") for key in ("bkg_z", "fft_edge"))
    return ordered(Reference(name, "", energy_ev + shift_ev, absorption, element[:2], edge[:2]))


def _numbers(values: Sequence[Any], what: str) -> NDArray[np.float64]:
    try:
        found = np.array([float(value) for value in values], np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ReferenceFormatError(f"{what} must be numbers: {error}") from error
    return found
