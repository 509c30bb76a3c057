"""One specimen through every reader of measurements: what is stored is what was measured, whatever the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from specimen_files import DISTANCE_M, ENERGY_EV, FORMS, PIXEL_M, truth

from storage.datasets.store import DatasetStore
from storage.readers.format import READERS
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.driver import run
from tasks.ptycho.probe import scale_to_power
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Scan, plan_canvas
from tasks.ptycho.solver import init

GEOMETRY = {"distance_m": DISTANCE_M, "detector_pixel_size_m": PIXEL_M}
FLIPPED_AND_TRANSPOSED = 5


def stored(folder: Path, form: str, orientation: int) -> tuple[dict[str, Any], list[str]]:
    """The scan of a form as a dataset keeps it, which states what the file does not, and the scan's warnings."""
    store = DatasetStore(folder / "store")
    lacking = {name: value for name, value in GEOMETRY.items() if "distance" not in FORMS[form].states}
    store.create("ds", {"orientation": orientation, **lacking})
    (folder / "file").mkdir()
    *_, info = store.add_scan("ds", "a", FORMS[form].write(folder / "file", orientation)).scans
    return store.read_scan("ds", info.name), list(info.warnings)


def test_every_reader_has_a_form() -> None:
    names = {reader.name for reader in READERS}
    assert {next(name for name in names if name.startswith(form.reader)) for form in FORMS.values()} == names


@pytest.mark.parametrize("orientation", [0, FLIPPED_AND_TRANSPOSED])
@pytest.mark.parametrize("form", FORMS)
def test_one_specimen_is_stored_alike_from_every_format(form: str, orientation: int, tmp_path: Path) -> None:
    chosen, right = FORMS[form], truth()
    scan, warnings = stored(tmp_path, form, orientation)
    np.testing.assert_array_equal(scan["mask"], right.mask)
    np.testing.assert_array_equal(scan["counts"], right.counts)
    positions = right.raster_m if chosen.is_on_axes else right.positions_m
    np.testing.assert_allclose(scan["positions_m"], positions, rtol=0, atol=chosen.tolerance_m)
    assert scan["energy_ev"] == pytest.approx(ENERGY_EV, rel=1e-9)
    assert scan["distance_m"] == pytest.approx(DISTANCE_M, rel=1e-9)
    assert scan["detector_pixel_size_m"] == pytest.approx(PIXEL_M, rel=1e-9)
    assert (scan["probe"] is not None) == ("probe" in chosen.states)
    if scan["probe"] is not None:
        np.testing.assert_allclose(scan["probe"], right.probe[None], atol=1e-4 * abs(right.probe).max())
    assert sum("monitor varies" in one for one in warnings) == ("monitor" in chosen.states), "its readings are told of"
    assert sum("dark field" in one for one in warnings) == ("dark" in chosen.states)


def errors(scan: Mapping[str, Any], cycles: int = 12) -> list[float]:
    """R of each cycle from the probe of a scan."""
    positions = np.asarray(scan["positions_m"])
    measured = Scan(scan["counts"], positions, scan["mask"], ENERGY_EV, DISTANCE_M, PIXEL_M)
    canvas = plan_canvas(positions, measured.pixel_size_m, measured.n_pixels)
    options = ReconstructOptions(cycles=cycles)
    probe = scale_to_power(scan["probe"], measured.mean_photons)
    return list(run(Reconstruction(measured, canvas, init(canvas, probe, options), cycles, options)).errors)


def test_a_stored_scan_is_reconstructed_as_the_measurement_is(tmp_path: Path) -> None:
    """R falls as for what was simulated, cycle by cycle, from a file of a flipped detector; not with positions turned round."""
    scan, _ = stored(tmp_path, "cxi", FLIPPED_AND_TRANSPOSED)
    right = truth()
    simulated = {"counts": right.counts, "mask": right.mask, "positions_m": right.positions_m, "probe": right.probe[None]}
    found = errors(scan)
    np.testing.assert_allclose(found, errors(simulated), rtol=1e-3)
    assert found[-1] < 0.3 * found[0]
    for wrong in (scan["positions_m"] * [-1, 1], scan["positions_m"][:, ::-1]):
        assert errors(scan | {"positions_m": wrong})[-1] > 3 * found[-1]
