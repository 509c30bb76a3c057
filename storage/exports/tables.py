"""Tables of domains, their shares of the specimens, and mean spectra, as CSV in a ZIP archive (RFC 4180)."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from storage.exports.archive import new_archive
from storage.exports.source import Source
from storage.layout import dataset_group

Row = Sequence[object]
NAN: Final = ""
"""A number that is not known is an empty cell."""


def write_csv(source: Source, path: Path) -> None:
    """Write ``domains.csv``, ``fractions.csv`` and, of each dataset, ``spectra.csv``."""
    tables = {f"{dataset_group(dataset, 'spectra')}.csv": _spectra(source, dataset) for dataset in source.datasets}
    if source.has("domains", "centre"):
        tables |= {"domains.csv": _domains(source), "fractions.csv": _fractions(source)}
    with new_archive(path) as archive:
        for name, rows in tables.items():
            with archive.member(name) as file, file.open("w", newline="", encoding="utf-8") as text:
                csv.writer(text).writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> object:
    return NAN if isinstance(value, float) and value != value else value


def _spectra(source: Source, dataset: str) -> Iterator[Row]:
    columns: dict[str, Iterable[object]] = {"energy [eV]": source.read(dataset_group(dataset, "spectra"), "energy").tolist()}
    for area in source.spectra[dataset]:
        columns |= {f"{area.name} absorption": area.absorption.tolist(), f"{area.name} absorption error": area.sigma.tolist()}
        if area.phase is not None:
            columns[f"{area.name} phase [rad]"] = area.phase.tolist()
    yield list(columns)
    yield from zip(*columns.values(), strict=True)


def _domains(source: Source) -> Iterator[Row]:
    yield ["domain", *source.read("domains", "descriptor").tolist()]
    for number, centre in zip(source.read("domains", "domain").tolist(), source.read("domains", "centre").tolist(), strict=True):
        yield [number, *centre]


def _fractions(source: Source) -> Iterator[Row]:
    """A row for every domain of every dataset, then of every group; intervals are of 95 %, empty where not computed."""
    yield ["of", "name", "domain", "share of the absorber atoms", "lower", "upper"]
    numbers = source.read("domains", "domain").tolist()
    for kind, shares, intervals in (("dataset", "fraction", "fraction_interval"), ("group", "group_fraction", "group_interval")):
        if not source.has("domains", shares):
            continue
        names, values = source.read("domains", kind).tolist(), source.read("domains", shares)
        bounds = source.read("domains", intervals) if source.has("domains", intervals) else None
        for row, name in enumerate(names):
            if kind == "dataset" and name not in source.datasets:
                continue
            for column, number in enumerate(numbers):
                ends = ["", ""] if bounds is None else bounds[:, row, column].tolist()
                yield [kind, name, number, float(values[row, column]), *ends]
