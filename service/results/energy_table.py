"""How each energy of a run came out: from its published results, or from the last finished round of each energy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.reconstruct import ReconstructStep
from service.workflow.graph import Graph
from storage.artifacts import ArtifactStore
from storage.errors import ArtifactMissingError
from storage.results import ResultsStore

N_CURVE: Final = 100
"""Most points of a curve of R."""


@dataclass(frozen=True)
class EnergyRow:
    """One energy of one dataset; None and empty where that is not known (yet)."""

    dataset: str
    energy_ev: float
    n_cycles: int
    r_factor: float
    noise_r_factor: float | None
    """R that photon noise alone would leave."""
    n_modes: int | None
    resolution_m: float | None
    drift_px: tuple[float, float] | None
    """Drift that was removed (y, x)."""
    warnings: tuple[str, ...]
    cycles: NDArray[np.int64]
    """Cycles of the curve of R, `N_CURVE` at most."""
    errors: NDArray[np.float64]
    """R after each of ``cycles``."""


def published_rows(store: ResultsStore, dataset: str) -> list[EnergyRow]:
    """Every energy of one dataset of sealed results, ascending; none where the results hold no such dataset."""
    group = f"{dataset}/reconstruction"
    keys = set(store.keys())
    if f"{group}/error/zarr.json" not in keys:
        return []

    def read(place: str, name: str) -> NDArray[Any] | None:
        return store.read(place, name)[0] if f"{place}/{name}/zarr.json" in keys else None

    energies_ev, errors = store.read(group, "energy")[0], store.read(group, "error")[0]
    noise, power, resolution = (read(group, name) for name in ("noise_error", "mode_power", "resolution"))
    shift = read(f"{dataset}/spectra", "shift")
    warnings = store.attributes(group).get("warnings", [])
    return [
        make_row(
            dataset, float(energy_ev), errors[i][np.isfinite(errors[i])],
            noise=None if noise is None else noise[i], n_modes=None if power is None else int(np.count_nonzero(power[i])),
            resolution_m=None if resolution is None else resolution[i], drift_px=None if shift is None else shift[i],
            warnings=[text for text in warnings if text.startswith(f"{energy_ev:.1f} eV")],
        )
        for i, energy_ev in enumerate(energies_ev)
    ]  # fmt: skip


def partial_rows(artifacts: ArtifactStore, graph: Graph, dataset: str) -> list[EnergyRow]:
    """Every energy of one dataset that has a finished round, ascending."""
    rows = {row.energy_ev: row for row in _finished_rounds(artifacts, graph, dataset)}
    return [rows[energy_ev] for energy_ev in sorted(rows)]


def _finished_rounds(artifacts: ArtifactStore, graph: Graph, dataset: str) -> Iterator[EnergyRow]:
    latest = {step.energy_ev: step for step in _rounds(graph, dataset) if artifacts.has(step.key)}
    for energy_ev, step in latest.items():
        try:
            errors, attributes = artifacts.read(step.key, "errors")["errors"], artifacts.attrs(step.key)
            n_modes = artifacts.shapes(step.key)["probe"][0]
        except ArtifactMissingError:  # removed or found damaged since: it is computed again
            continue
        yield make_row(
            dataset, energy_ev, errors, noise=attributes["noise_error"], n_modes=n_modes, resolution_m=None, drift_px=None,
            warnings=attributes.get("warnings", []),
        )  # fmt: skip


def _rounds(graph: Graph, dataset: str) -> list[ReconstructStep]:
    """Rounds of all energies of a dataset, those of one energy in their order."""
    return [step for step in graph.steps.values() if isinstance(step, ReconstructStep) and step.dataset == dataset]


def make_row(
    dataset: str,
    energy_ev: float,
    errors: NDArray[np.floating],
    *,
    noise: float | None,
    n_modes: int | None,
    resolution_m: float | None,
    drift_px: Sequence[float] | None,
    warnings: Sequence[str],
) -> EnergyRow:
    """The row of one energy, R of each of its cycles being ``errors`` (C,)."""
    shown = np.unique(np.linspace(0, len(errors) - 1, N_CURVE).astype(int))
    return EnergyRow(
        dataset,
        energy_ev,
        n_cycles=len(errors),
        r_factor=float(errors[-1]),
        noise_r_factor=None if noise is None else float(noise),
        n_modes=n_modes,
        resolution_m=None if resolution_m is None else float(resolution_m),
        drift_px=None if drift_px is None else (float(drift_px[0]), float(drift_px[1])),
        warnings=tuple(warnings),
        cycles=shown + 1,
        errors=np.asarray(errors, np.float64)[shown],
    )
