"""The notebooks of the documentation, run from top to bottom against the service with the client alone."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from lab import OPTIONS, Job, Lab, as_cxi
from pydantic import TypeAdapter

from tasks.ptycho.probe import ProbeSpec

ROOT: Final = Path(__file__).resolve().parents[2]
RUN_NOTEBOOK: Final = """
import sys
import nbformat
from nbclient import NotebookClient

file, parameters = sys.argv[1:]
notebook = nbformat.read(file, 4)
number = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
notebook.cells.insert(number + 1, nbformat.v4.new_code_cell(parameters))
ours = "{'api', 'service', 'storage', 'tasks'}"
notebook.cells.append(nbformat.v4.new_code_cell(f"import sys\\nassert not {ours} & set(sys.modules)"))
NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        print(output.get("text", ""), *output.get("data", {}))
"""


def run_notebook(name: str, lab: Lab, folder: Path, parameters: str) -> str:
    """Run a notebook in a folder with its parameters set, and return what its cells printed and the types that they showed."""
    environment = {
        "PTYXAS_URL": lab.serving.url,
        "PYTHONPATH": str(ROOT / "api" / "client"),
        "PTYXAS_DATA_DIR": str(lab.serving.data_dir),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN_NOTEBOOK, str(ROOT / "docs" / "notebooks" / f"{name}.ipynb"), parameters],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_quickstart_goes_from_files_to_maps(lab: Lab, pristine: str, main_job: Job, tmp_path: Path) -> None:
    simulation = lab.simulations[pristine]
    for number, scan in enumerate(simulation.scans):  # the bytes of a dataset that was analysed: nothing is reconstructed again
        as_cxi(tmp_path / f"e{number:03d}", scan)
    probe: dict[str, Any] = TypeAdapter(ProbeSpec).dump_python(simulation.probe_guess, mode="json")
    shown = run_notebook("quickstart", lab, tmp_path, f"files, probe, options = 'e*', {probe}, {OPTIONS}")
    assert f"sealed with {len(simulation.scans)} energies" in shown
    assert "100 %" in shown
    assert shown.count("image/png") == 1
    assert "edge energy 54" in shown
    assert (tmp_path / "figures" / "state-maps.png").stat().st_size > 10_000


def test_explore_shows_a_pixel_the_domains_and_the_quality(lab: Lab, main_job: Job, tmp_path: Path) -> None:
    shown = run_notebook("explore", lab, tmp_path, f"run = {main_job.id!r}")
    assert shown.count("image/png") == 3
    assert "domain_1: " in shown
    slope = float(shown.partition("Kramers-Kronig slope ")[2].split()[0])
    assert slope == pytest.approx(1, abs=0.3)
