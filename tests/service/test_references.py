"""References of a project: kept from any format, named by runs, and what is refused."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import ConflictError, InvalidInputError, NotFoundError, TooLargeError
from service.references import MOST_KEPT, References
from storage.references import ReferenceStore
from tasks.options.run import OPTIONS, RunOptions
from tasks.xanes.references.xdi import MAX_BYTES, read_xdi

ENERGIES_EV = np.linspace(5400, 5550, 16)
COLUMNS = "# energy xmu\n" + "\n".join(f"{energy} {index}" for index, energy in enumerate(ENERGIES_EV))


@pytest.fixture
def references(tmp_path: Path) -> References:
    return References(ReferenceStore(tmp_path))


def project_of(*labels: str) -> bytes:
    groups = {name: {"args": {"label": name}, "x": ENERGIES_EV.tolist(), "y": list(range(16))} for name in labels}
    return gzip.compress(json.dumps({"_____header1": "# Athena project file", **groups}).encode())


def put(references: References, name: str, *parts: bytes) -> list[str]:
    async def stream() -> AsyncIterator[bytes]:
        for part in parts:
            yield part

    return [view.name for view in asyncio.run(references.put(name, stream()))]


def options(**given: Any) -> RunOptions:
    return OPTIONS.validate_python({"references": given, "preset": "paper", "kkr": {"mode": "off"}})


def test_a_file_of_several_is_kept_as_several(references: References) -> None:
    assert put(references, "oxides", project_of("V2O3", "V2O5")) == ["oxides.1", "oxides.2"]
    assert put(references, "foil", COLUMNS[:50].encode(), COLUMNS[50:].encode()) == ["foil"]
    assert [(view.name, view.title, view.n_points) for view in references.views()] == [
        ("foil", "foil", 16), ("oxides.1", "V2O3", 16), ("oxides.2", "V2O5", 16)
    ]  # fmt: skip
    np.testing.assert_allclose(read_xdi(references.text("foil")).absorption, np.arange(16))
    assert references.within("other").views() == []


def test_a_run_takes_the_texts_of_its_names_and_nothing_else_changes(references: References) -> None:
    put(references, "foil", COLUMNS.encode())
    asked = options(names=["foil"], xdi=["#XDI/1.0 first"])
    found = references.resolved(asked)
    assert found.references.names == ()
    assert found.references.xdi == ("#XDI/1.0 first", references.text("foil"))
    assert (found.reconstruct, found.kkr, found.fit, found.preset) == (asked.reconstruct, asked.kkr, asked.fit, asked.preset)
    assert references.resolved(options()) == options()


def test_names_that_are_not_kept_and_too_many_are_refused_by_field(references: References) -> None:
    put(references, "foil", COLUMNS.encode())
    with pytest.raises(InvalidInputError) as refused:
        references.resolved(options(names=["foil", "../foil", "gone"]))
    assert [fault.field for fault in refused.value.faults] == ["options.references.names.1", "options.references.names.2"]
    with pytest.raises(InvalidInputError, match="may have 8 references, got 1 by name and 8 as text"):
        references.resolved(options(names=["foil"], xdi=["x"] * 8))
    with pytest.raises(InvalidInputError, match="no reference 'foil'"):
        references.within("other").resolved(options(names=["foil"]))


def test_what_is_forgotten_is_gone(references: References) -> None:
    put(references, "foil", COLUMNS.encode())
    references.remove("foil")
    for gone in (references.remove, references.text):
        for name in ("foil", "../foil"):
            with pytest.raises(NotFoundError):
                gone(name)


def test_what_cannot_be_kept_is_refused(references: References) -> None:
    with pytest.raises(InvalidInputError, match="rows of one length"):
        put(references, "a", b"nothing")
    with pytest.raises(TooLargeError):
        put(references, "a", bytes(MAX_BYTES), b"1")
    long = "\n".join(f"{energy:.5f} 1.2345678" for energy in np.linspace(5400, 5600, 10_000))
    with pytest.raises(InvalidInputError, match="leave out points"):
        put(references, "a", long.encode())
    put(references, "a", project_of(*(f"g{number}" for number in range(MOST_KEPT))))
    with pytest.raises(InvalidInputError, match="may keep 500"):
        put(references, "b", COLUMNS.encode())
    assert len(references.views()) == MOST_KEPT


def test_a_damaged_one_is_named_and_hides_no_other(references: References, tmp_path: Path) -> None:
    put(references, "foil", COLUMNS.encode())
    put(references, "oxide", COLUMNS.encode())
    (path,) = tmp_path.glob("*/foil.xdi")
    path.write_bytes(path.read_bytes().replace(b"5410", b"5411"))
    shown = {view.name: view.fault for view in references.views()}
    assert shown["oxide"] == ""
    assert "no longer what was kept" in shown["foil"]
    with pytest.raises(ConflictError, match="PUT it again"):
        references.text("foil")
    with pytest.raises(InvalidInputError, match="PUT it again") as refused:
        references.resolved(options(names=["oxide", "foil"]))
    assert [fault.field for fault in refused.value.faults] == ["options.references.names.1"]
    put(references, "foil", COLUMNS.encode())
    assert references.resolved(options(names=["foil"])).references.xdi == (references.text("foil"),)
