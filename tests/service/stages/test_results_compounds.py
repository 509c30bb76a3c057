"""Other elements, standards, references and calibration: from objects that obey Kramers-Kronig to what is published."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from places import on_disk
from pydantic import TypeAdapter

from service.execution.worker import StepResult
from service.settings import DataPaths
from service.stages.pipeline import build_graph
from service.stages.reconstruct import ReconstructStep
from service.workflow.graph import Graph
from service.workflow.inputs import RunInput, ScanInput
from storage.artifacts import ArtifactStore
from tasks.figures import gallery
from tasks.figures.gallery import Drawing
from tasks.figures.study import Study
from tasks.options.run import RunOptions
from tasks.ptycho.scan import Canvas
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import (
    STATES,
    ChemicalState,
    absorption_jump,
    electrons_per_formula,
    eq1_in_electrons,
    formula_of,
)
from tasks.simulation.energies import energy_grid
from tasks.simulation.specimen import DENSITY_V_M3, SimulationOptions, Specimen, grow_specimen, transmission_at

Compute = Callable[..., dict[str, StepResult]]

OFFSET_EV = 2.5
"""What the made-up beamline's axis lacks."""
CANVAS = Canvas((64, 64), 15e-9, (0.0, 0.0))
AXIS_M = 15e-9 * (np.arange(64, dtype=np.float64) - 31.5)
OPTIONS = SimulationOptions(n_states=2, n_grains=2, radius_m=0.25e-6, thickness_m=0.9e-6)
SPECIMEN = grow_specimen(OPTIONS)
STANDARD = dataclasses.replace(SPECIMEN, grain_states=np.ones_like(SPECIMEN.grain_states))


def made_up(name: str, absorber: Absorber, standard: bool = False) -> RunInput:
    """A dataset of 20 energies about the absorber's edge, on an axis that is off by `OFFSET_EV`."""
    energies_ev = energy_grid(20, absorber.edge_energy_ev) - OFFSET_EV
    scans = tuple(ScanInput(f"s{i}", float(e), 100, 64, f"{name}{i}", CANVAS) for i, e in enumerate(energies_ev))
    formula = formula_of(STATES[0], absorber)
    described = {"element": absorber.element, "edge": absorber.edge}
    return RunInput(name, name, "particles", formula, described, {"probe": None}, scans, standard=standard)


def write_states(paths: DataPaths, graph: Graph, absorber: Absorber, specimens: Mapping[str, Specimen]) -> None:
    """Store each energy's true transmission, as the last round would leave it."""
    rounds = [step for step in graph.steps.values() if isinstance(step, ReconstructStep)]
    for i, step in enumerate(rounds):
        true_ev = step.energy_ev + OFFSET_EV
        specimen = specimens[step.dataset]
        electrons = electrons_per_formula(specimen.states, np.array([true_ev]), absorber)[0]
        transmission = transmission_at(specimen, electrons, AXIS_M, AXIS_M, true_ev)
        noise = np.random.default_rng(i).normal(0, 5e-4, (2, 64, 64))
        arrays: dict[str, NDArray[Any]] = {
            "object": (transmission * np.exp(noise[0] + 1j * noise[1])).astype(np.complex64),
            "dose": np.full((64, 64), 1e4, np.float32), "probe": np.ones((1, 32, 32), np.complex64),
            "errors": np.linspace(0.1, 0.01, 3, dtype=np.float32), "prtf": np.linspace(1, 0, 33, dtype=np.float32),
            "frame_px": np.full(3, 32, np.int16),
            "positions_m": np.zeros((4, 2)), "displacement_px": np.empty((0, 2)), "scale": np.empty(0),
        }  # fmt: skip
        provenance = {"stage": "reconstruct", "seconds": 1.0, "inputs": [], "noise_error": 0.009}
        ArtifactStore(paths.artifacts).write(step.key, arrays, provenance)


def xdi(state: ChemicalState, absorber: Absorber) -> str:
    """The spectrum of a state as the text of an XDI file."""
    energy = absorber.edge_energy_ev + np.arange(-120.0, 300.0, 0.5)
    mu = eq1_in_electrons(state, energy - absorber.edge_energy_ev, absorption_jump(absorber))
    head = f"#XDI/1.0\n# Column.1: energy eV\n# Column.2: mutrans\n# Sample.name: {formula_of(state, absorber)}\n#---\n"
    return head + "\n".join(f"{e:.2f} {m:.6f}" for e, m in zip(energy, mu, strict=True))


def run_options(absorber: Absorber, **stages: Any) -> RunOptions:
    """Options of a calibrated run."""
    given = {
        "reconstruct": {"cycles": 3}, "chemistry": {"preset": "chantler", "compounds": [formula_of(STATES[1], absorber)]},
        "align": {"energy_offset_ev": OFFSET_EV}, "domains": {"n_domains": 2, "replicates": 8},
    }  # fmt: skip
    return TypeAdapter(RunOptions).validate_python(given | stages)


@dataclasses.dataclass(frozen=True)
class Published:
    """A published run: what its figures were to show, and the groups of its results."""

    study: Study
    groups: Mapping[str, xr.Dataset]


@pytest.fixture(scope="module")
def iron(tmp_path_factory: pytest.TempPathFactory, compute: Compute) -> Published:
    """A particle of an iron oxide and a standard, two references, energies 2.5 eV off."""
    absorber, folder = Absorber("Fe"), tmp_path_factory.mktemp("iron")
    paths = DataPaths(folder / "datasets", folder / "units", folder / "runs")
    options = run_options(absorber, references={"xdi": [xdi(state, absorber) for state in STATES[:2]]})
    graph = build_graph([made_up("ds_p", absorber), made_up("ds_s", absorber, standard=True)], options, "run_1")
    write_states(paths, graph, absorber, {"ds_p": SPECIMEN, "ds_s": STANDARD})
    seen: list[Study] = []

    def draw_nothing(study: Study) -> dict[str, Drawing]:
        seen.append(study)
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "figure_list", draw_nothing)  # drawing is slow, and tested in tests/tasks/figures
        compute(paths, graph)
    with xr.open_datatree(on_disk(paths.results("run_1")), engine="zarr") as tree:
        groups = {node.path.strip("/"): node.to_dataset().load() for node in tree.subtree}
    return Published(seen[-1], groups)  # the first study is that of the figures without domains


def true_density() -> NDArray[np.float64]:
    """(64, 64) density of absorber atoms [m^-2]."""
    return DENSITY_V_M3 * SPECIMEN.thickness(*np.meshgrid(AXIS_M, AXIS_M, indexing="ij"))


@pytest.mark.parametrize("element", ["Fe", pytest.param("Mn", marks=pytest.mark.study)])
def test_any_edge_gives_true_maps_at_calibrated_energies(
    element: str, iron: Published, paths: DataPaths, compute: Compute
) -> None:
    absorber = Absorber(element)
    if element == "Fe":
        maps = {str(name): values.values for name, values in iron.groups["ds_p/maps"].data_vars.items()}
    else:
        graph = build_graph([made_up("ds_p", absorber)], run_options(absorber), "run_1")
        write_states(paths, graph, absorber, {"ds_p": SPECIMEN})
        compute(paths, graph, "spectra", "fit", "maps")
        maps = ArtifactStore(paths.artifacts).read(graph.steps["maps"].key)
    # the common grid may begin elsewhere: compare pixels of one state, not pixel by pixel
    edges = absorber.edge_energy_ev + np.array([one.edge_ev for one in SPECIMEN.states])
    electrons = electrons_per_formula(SPECIMEN.states, absorber.edge_energy_ev + np.array([-45.0]), absorber)[0].real
    for edge, expected in zip(edges, electrons, strict=True):
        alike = maps["mask"] & (np.abs(maps["edge_energy"] - edge) < 0.45)
        assert np.median(maps["edge_energy"][alike]) == pytest.approx(edge, abs=0.15)
        assert np.median(maps["electron_ratio"][alike]) == pytest.approx(expected, abs=0.5)
    assert np.nansum(maps["n_absorber"][maps["mask"]]) == pytest.approx(true_density().sum(), rel=0.06)


def test_a_standard_is_mapped_but_left_out_of_the_domains(iron: Published) -> None:
    assert list(iron.groups["domains"]["dataset"].values) == ["ds_p"]
    assert "ds_s/domains" not in iron.groups
    edges = iron.groups["ds_s/maps"]["edge_energy"].values
    assert np.nanmedian(edges) == pytest.approx(Absorber("Fe").edge_energy_ev + STATES[1].edge_ev, abs=0.1)


def test_fractions_have_intervals_and_domains_a_stability(iron: Published) -> None:
    pooled = iron.groups["domains"]
    assert list(pooled["bound"].values) == ["lower", "upper"]
    for name, interval in (("fraction", "fraction_interval"), ("group_fraction", "group_interval")):
        assert np.all(pooled[interval].sel(bound="lower") <= pooled[name] + 1e-9)
        assert np.all(pooled[interval].sel(bound="upper") >= pooled[name] - 1e-9)
    assert pooled.attrs["agreement"] > 0.8
    assert pooled["domain_agreement"].values.min() > 0.8


def test_references_are_fitted_and_explain_the_pixels(iron: Published) -> None:
    edges = Absorber("Fe").edge_energy_ev + np.array([one.edge_ev for one in STATES[:2]])
    references = iron.groups["references"]
    assert list(references["reference"].values) == ["LiFeO2", "Li10/7Fe6/7O2"]
    assert references["edge_energy"].values == pytest.approx(edges, abs=0.05)
    pure = iron.groups["ds_s/references"]["fraction"].values
    assert np.nanmedian(pure, axis=(1, 2)) == pytest.approx([0, 1], abs=0.05)
    mixed = iron.groups["ds_p/references"]["fraction"].values
    assert (np.sum(mixed > 0.9, axis=(1, 2)) / np.isfinite(mixed[0]).sum()).min() > 0.2
    assert [reference.name for reference in iron.study.references] == list(references["reference"].values)
    mixture = iron.study.specimens[0].mixture
    assert mixture is not None
    assert mixture.shape == mixed.shape


def test_theoretical_ratios_and_intervals_reach_the_figures(iron: Published) -> None:
    study = iron.study
    electrons = electrons_per_formula(STATES[:2], Absorber("Fe").edge_energy_ev + np.array([-45.0]), Absorber("Fe"))[0].real
    assert list(study.theory) == ["LiFeO2", "Li10/7Fe6/7O2"]
    assert list(study.theory.values()) == pytest.approx(electrons, abs=0.5)
    assert [specimen.standard for specimen in study.specimens] == [False, True]
    assert study.domains is not None
    assert study.domains.group_interval is not None
    assert np.array_equal(study.domains.group_interval, iron.groups["domains"]["group_interval"])
    assert study.absorber == "Fe"


def test_absorption_and_phase_can_be_fitted_together(paths: DataPaths, compute: Compute) -> None:
    absorber = Absorber()
    options = run_options(absorber, kkr={"mode": "off"}, fit={"joint": True})
    graph = build_graph([made_up("ds_p", absorber)], options, "run_1")
    write_states(paths, graph, absorber, {"ds_p": STANDARD})
    compute(paths, graph, "spectra", "fit", "maps")
    maps = ArtifactStore(paths.artifacts).read(graph.steps["maps"].key)
    kept = maps["edge_energy"][maps["mask"]]
    assert np.median(kept) == pytest.approx(absorber.edge_energy_ev + STATES[1].edge_ev, abs=0.1)
    with pytest.raises(ValueError, match="has used the phase already"):
        run_options(absorber, fit={"joint": True})
