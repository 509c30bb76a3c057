"""XDI files against the grammar of the specification, XDI 1.0, section "Syntax"."""

import re
import zipfile
from pathlib import Path

import numpy as np

from storage.exports.source import Source

VERSION = re.compile(r"#\s*XDI/1\.0(\s+\S+)*")
FIELD = re.compile(r"#\s*[A-Za-z][\w]*\.[\w]+:\s*\S.*")
EDGES = {"K", "L", "L1", "L2", "L3", "M", "M1", "M2", "M3", "M4", "M5", "N", "O"}


def test_every_file_is_version_fields_comments_and_columns(exported: dict[str, Path], one: Source) -> None:
    with zipfile.ZipFile(exported["xdi"]) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert sorted(files) == [f"ds_a/{area}.xdi" for area in ("domain-1", "domain-2", "specimen")]
    for text in files.values():
        lines = text.splitlines()
        end_of_fields, end_of_header = lines.index("# ///"), next(i for i, line in enumerate(lines) if line.startswith("# -"))
        assert VERSION.fullmatch(lines[0])
        assert all(FIELD.fullmatch(line) for line in lines[1:end_of_fields])
        assert all(line.startswith("#") for line in lines[end_of_fields:end_of_header])
        fields = dict(line.lstrip("# ").split(": ", 1) for line in lines[1:end_of_fields])
        assert fields["Element.symbol"] == "V"
        assert fields["Element.edge"] in EDGES
        columns = [fields[f"Column.{number}"].split()[0] for number in (1, 2, 3)]
        assert fields["Column.1"] == "energy eV"
        assert lines[end_of_header + 1].lstrip("# ").split() == columns, "the last line of the header names the columns"
        rows = np.array([line.split() for line in lines[end_of_header + 2 :]], float)
        assert rows.shape == (5, 3)


def test_the_column_is_that_of_intensity(exported: dict[str, Path], one: Source) -> None:
    with zipfile.ZipFile(exported["xdi"]) as archive, archive.open("ds_a/domain-1.xdi") as file:
        energy_ev, mutrans, sigma = np.loadtxt(file).T
    domain = one.spectra["ds_a"][1]
    np.testing.assert_allclose(energy_ev, domain.energy_ev, rtol=1e-7)
    np.testing.assert_allclose(mutrans, 2 * domain.absorption, rtol=1e-6)
    np.testing.assert_allclose(sigma, 2 * domain.sigma, rtol=1e-3)
