"""All that was found of each dataset of a run: what figures draw and results publish."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.stages.convergence import course
from service.stages.resolution import energy_sharpness
from tasks.gauge import field_of_view
from tasks.options import RunOptions
from tasks.scattering import absorption_and_phase

Array = NDArray[Any]
Arrays = Mapping[str, Array]

SPECTRA_ARRAYS = (
    "absorption", "phase", "vacuum_mask", "sample_mask", "kk_residual", "kk_residual_before", "sigma_absorption", "sigma_phase",
)  # fmt: skip
SHARPNESS_ARRAYS = ("frequency_per_m", "prtf", "frc", "half_bit", "resolution_m", "prtf_resolution_m")


@dataclass(frozen=True)
class DatasetResults:
    """All that was found of one dataset."""

    about: Mapping[str, Any]
    energy_ev: Array
    y_m: Array
    x_m: Array
    probe: Array
    """(E, M, N, N) complex64."""
    course: Arrays
    """As `service.stages.convergence` has it."""
    sharpness: Arrays
    """As `service.stages.resolution` has it."""
    spectra: Arrays
    """Arrays over y and x or energy, by the names of the results store."""
    maps: Arrays
    label: Array | None
    """Domains; None for a standard."""
    phase_energy_ev: float | None
    """Where the phase gave the electron density."""
    mixture: Arrays
    """Shares of the reference compounds, where there are two or more."""
    compounds: Sequence[str] = ()
    remarks: Sequence[str] = ()
    """Which energies stand out."""

    @property
    def probe_pixel_size_m(self) -> Array:
        """(E,) float64."""
        return np.array([scan.canvas.pixel_size_m for scan in self.about["scans"]])


@dataclass(frozen=True, kw_only=True)
class RunResults:
    """Everything a run found, by the keys of its units: the arguments that figures and results share."""

    datasets: Sequence[Mapping[str, Any]]
    options: RunOptions
    states: Sequence[Sequence[str]]
    spectra: Sequence[str]
    maps: Sequence[str]
    mixtures: Sequence[str]
    domains: str | None

    def chapters(self, desk: StageContext) -> list[DatasetResults]:
        """Everything found of each dataset, as far as the run went."""
        if not self.spectra:
            return [single_energy_chapter(desk, *one) for one in zip(self.datasets, self.states, strict=True)]
        return [self._chapter(desk, number) for number in range(len(self.datasets))]

    def pooled(self, desk: StageContext) -> tuple[Arrays, Mapping[str, Any]]:
        """Arrays and facts of the domains of all datasets; none where nothing was grouped."""
        return (desk.read(self.domains), desk.units.attrs(self.domains)) if self.domains else ({}, {})

    def _chapter(self, desk: StageContext, number: int) -> DatasetResults:
        about, spectra, maps = self.datasets[number], self.spectra[number], self.maps[number]
        mixture = self.mixtures[number] if self.mixtures else None
        found = desk.read(spectra)
        return DatasetResults(
            about, found["energy_ev"], found["y_m"], found["x_m"], found["probe"], course(desk, self.states[number]),
            {name: found[name] for name in SHARPNESS_ARRAYS},
            {name: single_precision(found[name]) for name in SPECTRA_ARRAYS} | {"shift": single_precision(found["shift_px"])},
            desk.read(maps), self._label(desk, about["id"]), float(desk.units.attrs(maps)["phase_energy_ev"]),
            desk.read(mixture) if mixture else {}, desk.units.attrs(mixture)["references"] if mixture else (),
            desk.units.attrs(spectra)["notes"],
        )  # fmt: skip

    def _label(self, desk: StageContext, dataset: str) -> Array | None:
        grouped = desk.units.attrs(self.domains)["datasets"] if self.domains else []
        if self.domains is None or dataset not in grouped:
            return None
        name = f"label{grouped.index(dataset)}"
        return desk.read(self.domains, name)[name]


def single_energy_chapter(desk: StageContext, about: Mapping[str, Any], states: Sequence[str]) -> DatasetResults:
    """A dataset of one energy: its image on its own canvas, NaN where the scan did not go."""
    scan, state = about["scans"][0], desk.read(states[0])
    canvas, energy_ev = scan.canvas, np.array([scan.energy_ev])
    field = field_of_view(state["dose"])
    images = absorption_and_phase(state["object"])
    y_m, x_m = (canvas.origin_m[axis] + canvas.pixel_size_m * np.arange(canvas.shape[axis]) for axis in (0, 1))
    absorption, phase = (np.where(field, image, np.nan)[None].astype(np.float32) for image in images)
    spectra = {"absorption": absorption, "phase": phase}
    sharpness = energy_sharpness(scan, state["prtf"])
    return DatasetResults(
        about, energy_ev, y_m, x_m, state["probe"][None], course(desk, states), sharpness, spectra, {}, None, None, {}
    )


def single_precision(values: Array) -> Array:
    """Floats as float32; masks as they are."""
    return values.astype(np.float32) if values.dtype.kind == "f" else values
