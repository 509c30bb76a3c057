"""The job of the paper, on a particle far smaller than its own (`make paper` runs the whole)."""

import re
from pathlib import Path

import pytest
from lab import Lab
from paper import SIZES, analyse


def test_a_small_particle_is_registered_analysed_and_measured(
    lab: Lab, register_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = analyse(lab.serving, register_root / "paper", SIZES["small"], is_drawn=False)
    said = capsys.readouterr().out
    assert code == 0, said
    times = {stage: float(end) for stage, end in re.findall(r"^ *(\w+): +[\d.]+ to +([\d.]+) s", said, re.MULTILINE)}
    assert {"reconstruct", "spectra", "fit", "maps", "domains", "results", "figures"} <= times.keys()
    assert len(re.findall(r"[\d.]+ eV \d+", said)) == SIZES["small"].n_energies
    assert int(re.findall(r"largest worker (\d+) MiB", said)[0]) > 0
    found = dict(re.findall(r"^(edge energy|domains), [a-zA-Z ]+ +([+\d.-]+)", said, re.MULTILINE))
    assert abs(float(found["edge energy"])) < 0.15  # as of the main job, whose energies are as few
    assert float(found["domains"]) > 0.9
