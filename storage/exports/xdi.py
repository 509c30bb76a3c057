"""Mean spectra of the specimen and of its domains as XDI in a ZIP archive, one file a spectrum.

Source: XAFS Data Interchange format 1.0 (Ravel & Newville, J. Phys.: Conf. Ser. 2016, 712, 012148). ``mutrans`` is that of
transmission, mu t = -ln(I / I0), twice the amplitude absorption. ``Mono.d_spacing`` is not written: no input states it.
"""

from collections.abc import Iterator
from pathlib import Path

from storage.exports.archive import new_archive
from storage.exports.source import MeanSpectrum, Source
from storage.layout import dataset_group


def write_xdi(source: Source, path: Path) -> None:
    """Write ``<dataset>/<area>.xdi`` for every area of every dataset."""
    with new_archive(path) as archive:
        for dataset in source.datasets:
            about = source.store.attributes(dataset_group(dataset, "spectra"))
            for spectrum in source.spectra[dataset]:
                with archive.member(f"{dataset}/{spectrum.name}.xdi") as file:
                    lines = _lines(source, dataset, spectrum, about["absorber"], about["title"], about["formula"])
                    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _lines(
    source: Source, dataset: str, spectrum: MeanSpectrum, absorber: dict[str, str], title: str, formula: str
) -> Iterator[str]:
    """Lines of one file."""
    sigmas = [2 * sigma for sigma in spectrum.sigma]
    yield "# XDI/1.0 ptyxas"
    yield f"# Element.symbol: {absorber['element']}"
    yield f"# Element.edge: {absorber['edge']}"
    yield f"# Sample.name: {_one_line(title)} {spectrum.name}"
    if formula:
        yield f"# Sample.stoichiometry: {_one_line(formula)}"
    yield "# Column.1: energy eV"
    yield "# Column.2: mutrans"
    yield "# Column.3: mutrans_error"
    yield "# ///"
    yield f"# Mean of {spectrum.n_pixels} pixels of {dataset}, run {source.run_id}."
    yield "# -----"
    yield "# energy mutrans mutrans_error"
    for energy_ev, absorption, sigma in zip(spectrum.energy_ev, spectrum.absorption, sigmas, strict=True):
        yield f"  {energy_ev:.4f}  {2 * absorption:.8g}  {sigma:.4g}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
