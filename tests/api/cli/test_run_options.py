"""Options of a run from files, the command line, and spectra of known compounds."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from api.cli.run_options import options_of, read_options, with_compounds
from tasks.scattering import Absorber
from tasks.xanes.references.xdi import ReferenceFormatError, read_xdi


def test_options_of_the_command_line() -> None:
    given = ["reconstruct.cycles=300", "kkr.mode=off", "reconstruct.alpha=0.9", 'domains.descriptors=["edge_energy"]']
    assert options_of(given) == {
        "reconstruct": {"cycles": 300, "alpha": 0.9},
        "kkr": {"mode": "off"},
        "domains": {"descriptors": ["edge_energy"]},
    }
    assert options_of(["preset=paper", "kkr.mode=off"]) == {"preset": "paper", "kkr": {"mode": "off"}}
    with pytest.raises(ValueError, match=r"stage\.name=value"):
        options_of(["cycles=3"])


def test_options_of_a_file_have_those_of_the_line_in_their_place_whatever_wrote_it(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_bytes("\ufeffpreset = 'paper'\r\n[kkr]\r\nmode = 'off'\r\n".encode())
    assert read_options(file, ["kkr.gamma=0.5"]) == {"preset": "paper", "kkr": {"mode": "off", "gamma": 0.5}}
    assert read_options(file, ["preset=default"])["preset"] == "default"
    assert read_options(None, ["preset=paper", "reconstruct.cycles=3"]) == {"preset": "paper", "reconstruct": {"cycles": 3}}


def test_files_of_known_compounds_become_options(tmp_path: Path) -> None:
    energy = np.arange(5400.0, 5600.0, 0.5)
    rise = 1 / (1 + np.exp(-(energy - 5461.0) / 1.5))
    head = "#XDI/1.0\n# Column.1: energy eV\n# Column.2: mutrans\n#---\n"
    foil = tmp_path / "foil.xdi"
    foil.write_text(head + "\n".join(f"{e} {mu}" for e, mu in zip(energy, rise, strict=True)))
    options = with_compounds({"fit": {}}, Absorber(), [foil], foil)
    assert options["align"]["energy_offset_ev"] == pytest.approx(Absorber().edge_energy_ev - 5461.0, abs=0.1)
    assert options["references"]["xdi"] == [foil.read_text()]
    assert "chemistry" not in options
    assert with_compounds({}, Absorber("Fe"), [], None) == {"chemistry": {"preset": "chantler"}}
    assert with_compounds({"chemistry": {"preset": "paper"}}, Absorber("Mn"), [], None)["chemistry"]["preset"] == "paper"


def test_references_and_foils_may_be_of_athena_or_columns(tmp_path: Path) -> None:
    energy = np.arange(5400.0, 5600.0, 0.5)
    rise = 1 / (1 + np.exp(-(energy - 5461.0) / 1.5))
    columns = tmp_path / "foil.nor"
    columns.write_text("# energy norm\n" + "\n".join(f"{e} {mu}" for e, mu in zip(energy, rise, strict=True)))
    one = {"args": {"label": "V2O3"}, "x": energy.tolist(), "y": rise.tolist()}
    project = tmp_path / "oxides.prj"
    project.write_bytes(gzip.compress(json.dumps({"_____header1": "# Athena project file", "a": one, "b": one}).encode()))
    options = with_compounds({}, Absorber(), [project, columns], columns)
    assert [read_xdi(text).name for text in options["references"]["xdi"]] == ["V2O3", "V2O3", "foil"]
    assert options["align"]["energy_offset_ev"] == pytest.approx(Absorber().edge_energy_ev - 5461.0, abs=0.1)
    with pytest.raises(ReferenceFormatError, match="must hold one spectrum, this one holds 2"):
        with_compounds({}, Absorber(), [], project)
    (tmp_path / "none").write_bytes(bytes(99))
    with pytest.raises(ReferenceFormatError, match="it is binary"):
        with_compounds({}, Absorber(), [tmp_path / "none"], None)
