"""An energy at which the beam was lost ends a run, which says so; a run that leaves it out uses all that is finished."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from lab import Lab, Measure, Writer

from tasks.simulation.specimen import Simulation

LOST = 7
"""Place of the lost energy among all, ascending."""


def without_beam(simulation: Simulation) -> Simulation:
    """The measurement with one energy's frames replaced by light that says nothing of the specimen."""
    scan = simulation.scans[LOST]
    counts = np.random.default_rng(0).poisson(scan.counts.mean(), scan.counts.shape).astype(scan.counts.dtype)
    scans = [*simulation.scans[:LOST], replace(scan, counts=counts), *simulation.scans[LOST + 1 :]]
    return replace(simulation, scans=scans)


def test_what_is_finished_is_used_when_the_lost_energy_is_left_out(
    lab: Lab, specimen: Measure, writers: dict[str, Writer], tmp_path: Path
) -> None:
    simulation = without_beam(specimen(3))
    dataset, lost_ev = lab.upload(simulation, tmp_path, [writers["cxi"]]), simulation.scans[LOST].energy_ev
    options = {"reconstruct": {"cycles": 30}}
    failed = lab.run([dataset], options, is_drawn=False)
    assert failed.view["state"] == "failed"
    assert f"{lost_ev:.1f} eV" in failed.view["error"]
    assert "align.leave_out_ev" in failed.view["error"]
    found = lab.run([dataset], {**options, "align": {"leave_out_ev": [lost_ev]}}, is_drawn=False)
    assert found.view["state"] == "succeeded", found.view["error"]
    assert "reconstruct" not in found.computed()
    energies_ev = lab.array(found, f"{dataset}/spectra/energy")
    np.testing.assert_allclose(energies_ev, [scan.energy_ev for scan in simulation.scans if scan.energy_ev != lost_ev])
