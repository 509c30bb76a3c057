"""Projects of Athena, in both of their forms; hostile and damaged ones are refused."""

import gzip
import json
from typing import Any

import numpy as np
import pytest

from tasks.xanes.references.athena import is_project, read_project
from tasks.xanes.references.xdi import MAX_BYTES, ReferenceFormatError

ENERGIES_EV = np.linspace(5400, 5550, 16)
MU = np.linspace(0, 1, 16)
ARGS: dict[str, Any] = {"label": "V2O3, film's", "bkg_z": "V", "fft_edge": "K", "bkg_eshift": "0.5", "is_xmu": "1", "is_chi": "0"}


def perl(*records: dict[str, Any]) -> bytes:
    lines = ["# Athena project file -- Demeter version 0.9.20", "# This file created at 2020-01-01T00:00:00", ""]
    for number, changed in enumerate(records or ({},)):
        record = {**ARGS, "x": ENERGIES_EV, "y": MU, **changed}
        x, y = (record.pop(axis) for axis in "xy")
        quoted = [str(word).replace("\\", "\\\\").replace("'", "\\'") for pair in record.items() for word in pair]
        lines += [f"$old_group = 'group{number}';", "@args = ('" + "','".join(quoted) + "');"]
        lines += [f"@{axis} = ({','.join(repr(str(value)) for value in values)});" for axis, values in (("x", x), ("y", y))]
        lines += ["[record]   # ", ""]
    return gzip.compress("\n".join([*lines, "@journal = {'system(1)'};", "1;"]).encode())


def as_json(args: Any, **changed: Any) -> bytes:
    header = "# Athena project file -- Demeter version 0.9.24 -- Demeter JSON"
    group = {"args": args, "x": ENERGIES_EV.tolist(), "y": MU.tolist(), **changed}
    return gzip.compress(json.dumps({"_____header1": header, "_____order": ["a"], "a": group}).encode())


@pytest.mark.parametrize("content", [perl(), as_json(ARGS), as_json([word for pair in ARGS.items() for word in pair])])
def test_a_spectrum_is_read_with_its_name_absorber_and_shift(content: bytes) -> None:
    assert is_project(content)
    (found,) = read_project(content)
    assert (found.name, found.element, found.edge) == ("V2O3, film's", "V", "K")
    np.testing.assert_allclose(found.energy_ev, ENERGIES_EV + 0.5)
    np.testing.assert_allclose(found.absorption, MU)


def test_every_spectrum_of_absorption_is_read_and_nothing_else() -> None:
    content = perl({}, {"label": "chi", "is_chi": "1"}, {"label": "second", "bkg_eshift": ""})
    assert [one.name for one in read_project(content)] == ["V2O3, film's", "second"]
    with pytest.raises(ReferenceFormatError, match="no spectrum of absorption among its 1 records"):
        read_project(perl({"is_chi": "1"}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (perl()[:200], "damaged"),
        (gzip.compress(b"# Athena project file" + bytes(MAX_BYTES), mtime=0), "unpacked"),
        (perl({"x": ENERGIES_EV[:-1]}), "as long as each other"),
        (perl({"y": ["a"] * 16}), "must be numbers"),
        (perl({"y": ["nan"] * 16}), "finite"),
        (as_json(ARGS, y=[[1]] * 16), "must be numbers"),
        (as_json(ARGS, y=[10**400] * 16), "must be numbers"),
        (as_json({**ARGS, "bkg_eshift": 10**400}), "must be numbers"),
        (gzip.compress(b"{" + b'"# Athena project file": ' + b"[" * 200_000, mtime=0), "no JSON"),
    ],
)
def test_what_cannot_be_read_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(ReferenceFormatError, match=words):
        read_project(content)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("\ud800 foil", "foil"),
        ("a\x1b[2J\u202eb\nc", "a [2J b c"),
        ("\x00", "reference"),
        ("x" * 5000, "x" * 100),
        ({"a": 1}, "{'a': 1}"),
    ],
)
def test_a_label_is_one_line_that_can_be_stored_and_shown(label: Any, name: str) -> None:
    (found,) = read_project(as_json({**ARGS, "label": label, "bkg_z": "\ud800V", "fft_edge": "K\x07"}))
    assert (found.name, found.element, found.edge) == (name, "V", "K")
    for text in (found.name, found.element, found.edge):
        assert text.isprintable()
        assert text.encode()


def test_other_files_are_no_projects() -> None:
    assert not is_project(b"# energy mu\n1 2\n")
    assert not is_project(gzip.compress(b"something else"))
    assert not is_project(b"\x1f\x8bbroken")
