"""All that a run found of each dataset: what figures draw and results publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from service.stages.context import StageContext
from service.workflow.inputs import RunInput
from service.workflow.step import Step, StepAttributes, StepRef
from storage.layout import COORDINATES, RESULTS
from tasks.arrays import pad
from tasks.options.run import RunOptions
from tasks.ptycho.probe import power_fractions
from tasks.xanes.uncertainty.neighbours import INDEPENDENT, NoiseCorrelation, stated

if TYPE_CHECKING:
    from service.stages.domains import DomainsStep
    from service.stages.maps import MapsStep
    from service.stages.reconstruct import ReconstructStep
    from service.stages.references import ReferencesStep
    from service.stages.spectra import SpectraStep

Array = NDArray[Any]
Arrays = Mapping[str, Array]

SPECTRA_ARRAYS: Final = (
    "absorption", "phase", "vacuum_mask", "sample_mask", "kk_residual", "kk_residual_before", "kk_measured", "kk_predicted",
    "sigma_absorption", "sigma_phase", "incident_intensity",
)  # fmt: skip
RESOLUTION_ARRAYS: Final = ("frequency_per_m", "prtf", "frc", "half_bit", "resolution_m", "prtf_resolution_m")
STATE_ARRAYS: Final = ("errors", "frame_px", "positions_m", "displacement_px", "scale", "probe")


@dataclass(frozen=True, kw_only=True)
class DatasetResults:
    """All that a run found of one dataset."""

    dataset: RunInput
    energy_ev: Array
    """(E,) float64, as calibrated."""
    y_m: Array
    """(Y,) float64."""
    x_m: Array
    """(X,) float64."""
    spectra: Arrays
    """Arrays over y and x or energy, by the names of the results store."""
    probe: Array | None = None
    """(E, M, N, N) complex64; none of images."""
    convergence: Arrays = field(default_factory=dict)
    """As `convergence` returns them; none of images."""
    resolution: Arrays = field(default_factory=dict)
    """As `tasks.coupling.resolution` returns them; none of a single image."""
    maps: Arrays = field(default_factory=dict)
    """(Y, X) each; none of a single energy."""
    label: Array | None = None
    """(Y, X) int8 domains; None for a standard."""
    phase_energy_ev: float | None = None
    """Energy at which the phase gave the electron density; None without maps or without a phase."""
    mixture: Arrays = field(default_factory=dict)
    """Shares of the reference compounds, where there are two or more."""
    references: Sequence[str] = ()
    """Names of those compounds."""
    warnings: Sequence[str] = ()
    """Which energies stand out."""
    kk_slope: float | None = None
    """Slope of the measured phase on the one predicted from the absorption; None of absorption alone."""
    noise: NoiseCorrelation = INDEPENDENT
    """How that of neighbouring pixels is correlated; independent without maps."""

    @property
    def probe_pixel_size_m(self) -> Array:
        """(E,) float64; of images, their own pixel."""
        return np.array([scan.canvas.pixel_size_m for scan in self.dataset.scans])


@dataclass(frozen=True, kw_only=True)
class RunResultsStep(Step):
    """A step that reads all that a run found.

    Parameters
    ----------
    datasets : tuple of RunInput
    options : RunOptions
    states : tuple of tuple of StepRef
        The last round of each energy of each dataset.
    spectra, maps : tuple of StepRef
        One a dataset; empty of single energies.
    mixtures : tuple of StepRef
        One a dataset; empty with fewer than two references.
    domains : StepRef, optional
        None where nothing was grouped.
    """

    datasets: tuple[RunInput, ...]
    options: RunOptions
    states: tuple[tuple[StepRef[ReconstructStep], ...], ...]
    spectra: tuple[StepRef[SpectraStep], ...]
    maps: tuple[StepRef[MapsStep], ...]
    mixtures: tuple[StepRef[ReferencesStep], ...]
    domains: StepRef[DomainsStep] | None

    def read_datasets(self, context: StageContext) -> list[DatasetResults]:
        """All that was found of each dataset, as far as the run went."""
        if not self.spectra:
            return [
                single_energy_results(context, dataset, states) if states else single_image_results(context, dataset)
                for dataset, states in zip(self.datasets, self.states, strict=True)
            ]
        return [self._read_dataset(context, number) for number in range(len(self.datasets))]

    def read_domains(self, context: StageContext) -> tuple[Arrays, StepAttributes]:
        """Arrays and attributes that the domains of all datasets have in common; none where nothing was grouped."""
        if self.domains is None:
            return {}, {}
        common = {*RESULTS["domains"], *RESULTS["components"], *COORDINATES}
        stored = context.artifacts.shapes(self.domains.key)
        return context.read(self.domains, *(name for name in stored if name in common)), context.attributes(self.domains)

    def _read_dataset(self, context: StageContext, number: int) -> DatasetResults:
        dataset, spectra, maps = self.datasets[number], self.spectra[number], self.maps[number]
        mixture = self.mixtures[number] if self.mixtures else None
        found, states = context.read(spectra), self.states[number]
        phase_energy_ev, grouped = context.attributes(maps)["phase_energy_ev"], self.read_grouped(context, dataset.id, "label")
        shared = {name: single_precision(found[name]) for name in SPECTRA_ARRAYS if name in found}
        return DatasetResults(
            dataset=dataset,
            energy_ev=found["energy_ev"],
            y_m=found["y_m"],
            x_m=found["x_m"],
            spectra=shared | {"shift": single_precision(found["shift_px"])},
            probe=found.get("probe"),
            convergence=convergence(context, states) if states else {},
            resolution={name: found[name] for name in RESOLUTION_ARRAYS if name in found},
            maps=context.read(maps),
            label=grouped.get("label"),
            phase_energy_ev=None if phase_energy_ev is None else float(phase_energy_ev),
            mixture=context.read(mixture) if mixture else {},
            references=context.attributes(mixture)["references"] if mixture else (),
            warnings=context.attributes(spectra)["warnings"],
            kk_slope=context.attributes(spectra).get("kk_slope"),
            noise=stated(context.attributes(maps)),
        )

    def read_grouped(self, context: StageContext, dataset: str, *names: str) -> dict[str, Array]:
        """Maps of these names that the grouping of all datasets made of this one; none of a standard."""
        if self.domains is None or dataset not in context.attributes(self.domains)["datasets"]:
            return {}
        number = context.attributes(self.domains)["datasets"].index(dataset)
        arrays = context.read(self.domains, *(f"{name}{number}" for name in names))
        return {name: arrays[f"{name}{number}"] for name in names}


def single_energy_results(context: StageContext, dataset: RunInput, states: Sequence[StepRef[ReconstructStep]]) -> DatasetResults:
    """Results of a dataset of one energy: its image on its own canvas, NaN where the scan did not go."""
    from tasks.coupling.resolution import energy_resolution
    from tasks.gauge import absorption_and_phase, field_of_view

    scan, state = dataset.scans[0], context.read(states[0])
    y_m, x_m = scan.canvas.axes_m
    absorption, phase = absorption_and_phase(state["object"], field_of_view(state["dose"]))
    return DatasetResults(
        dataset=dataset,
        energy_ev=np.array([scan.energy_ev]),
        y_m=y_m,
        x_m=x_m,
        spectra={"absorption": absorption[None], "phase": phase[None]},
        probe=state["probe"][None],
        convergence=convergence(context, states),
        resolution=energy_resolution(state["prtf"], scan.n_pixels, scan.canvas.pixel_size_m),
    )


def single_image_results(context: StageContext, dataset: RunInput) -> DatasetResults:
    """Results of a dataset of one image: itself, NaN where the specimen was not seen."""
    from tasks.gauge import absorption_and_phase

    scan = dataset.scans[0]
    stored = context.read_image(dataset.id, scan.name)
    images = (stored["absorption"],) if "absorption" in stored else absorption_and_phase(stored["object"], stored["seen"])
    shown = [np.where(stored["seen"], image, np.nan)[None].astype(np.float32) for image in images]
    y_m, x_m = scan.canvas.axes_m
    spectra = dict(zip(("absorption", "phase"), shown, strict=False))
    return DatasetResults(dataset=dataset, energy_ev=np.array([scan.energy_ev]), y_m=y_m, x_m=x_m, spectra=spectra)


def convergence(context: StageContext, steps: Sequence[StepRef[ReconstructStep]]) -> dict[str, Array]:
    """How the reconstruction of every energy converged, by the names of the results store.

    An energy that has fewer cycles or positions than others is filled up with NaN or zero, one with fewer modes with no power.

    Parameters
    ----------
    context : StageContext
    steps : E StepRef
        The last round of each energy.

    Returns
    -------
    dict of array
        ``error`` and ``frame_px`` [px] (E, C), ``noise_error`` and ``cycles`` (E,), ``mode_power`` (E, M) and
        ``positions`` (E, P, 2) always; ``displacement_rms`` (E,) [px] and ``frame_flux`` (E, P) where positions or flux
        were corrected.
    """
    states = [context.read(step, *STATE_ARRAYS) for step in steps]
    found = {
        "error": pad([state["errors"] for state in states]),
        "frame_px": pad([state["frame_px"] for state in states], 0),
        "noise_error": np.array([context.attributes(step)["noise_error"] for step in steps], np.float32),
        "cycles": np.array([len(state["errors"]) for state in states], np.int32),
        "mode_power": pad([power_fractions(state["probe"]).astype(np.float32) for state in states], 0),
        "positions": pad([state["positions_m"] for state in states]),
    }
    if all(len(state["scale"]) for state in states):
        rms = [np.sqrt(np.mean(np.sum(state["displacement_px"] ** 2, axis=1))) for state in states]
        found["displacement_rms"] = np.array(rms, np.float32)
        found["frame_flux"] = pad([state["scale"].astype(np.float32) ** 2 for state in states])
    return found


def single_precision(values: Array) -> Array:
    """Floats as float32; masks as they are."""
    return values.astype(np.float32) if values.dtype.kind == "f" else values
