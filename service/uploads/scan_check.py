"""Whether a scan that was read makes sense: its geometry, its probe, and its energy beside the edge of its dataset."""

import math
from typing import Any, Final

from storage.datasets.ingest import ScanRecord
from tasks.ptycho.probe import ProbeSpec
from tasks.ptycho.scan import check_geometry
from tasks.units import object_pixel_size_m, wavelength_m

FAR_FROM_EDGE: Final = 0.3
"""Scans further from their edge than this fraction of its energy measure something else than its absorption spectrum."""


def check_scan(
    record: ScanRecord, probe: dict[str, Any] | None, edge_ev: float | None = None
) -> tuple[list[tuple[str, str]], list[str]]:
    """What is wrong with a scan's geometry and probe, as (field, message), and what is assumed or odd about it.

    Parameters
    ----------
    record : ScanRecord
    probe : dict, optional
        Optics, as the dataset describes them.
    edge_ev : float, optional
        Tabulated energy of the dataset's edge [eV].
    """
    faults, warnings = geometry_faults(record, probe or {}), []
    if edge_ev is not None and abs(record.energy_ev - edge_ev) > FAR_FROM_EDGE * edge_ev:
        warnings.append(
            f"{record.energy_ev:.1f} eV is far from the dataset's edge at {edge_ev:.1f} eV: is it the photons', and not the "
            "storage ring's or another edge's?"
        )
    if record.probe is None and probe is None:
        warnings.append(f"neither the file nor the dataset describes the probe; assumed: {ProbeSpec().in_words()}")
    elif record.probe is None and probe is not None and probe.get("kind") == "supplied":
        faults.append(("probe", "the dataset says that the files hold the probe (kind 'supplied'), and this one holds none"))
    return faults, warnings


def geometry_faults(record: ScanRecord, probe: dict[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a scan's geometry, as (field, message)."""
    pixel_size_m = object_pixel_size_m(record.energy_ev, record.distance_m, record.n_pixels, record.detector_pixel_size_m)
    width_m = beam_width_m(probe, record.energy_ev)
    return check_geometry(record.positions_m, pixel_size_m, record.n_pixels, width_m)


def beam_width_m(probe: dict[str, Any], energy_ev: float) -> float | None:
    """Width of the beam on the specimen [m], spread by diffraction over the defocus; None where it is not known."""
    if probe.get("kind", "kb") not in ("kb", "gaussian") or "fwhm_m" not in probe:
        return None
    spread_m = abs(probe.get("defocus_m", 0.0)) * wavelength_m(energy_ev) / probe["fwhm_m"]
    return math.hypot(probe["fwhm_m"], spread_m)
