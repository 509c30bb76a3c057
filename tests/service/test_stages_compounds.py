"""Other elements, standards, references and calibration: from images that obey Kramers-Kronig to what is published."""

import dataclasses

import numpy as np
import pytest
import xarray as xr
from pydantic import TypeAdapter

from service.execution.worker import perform
from service.stages.context import DataPaths, StepRequest
from service.stages.pipeline import build_graph
from service.workflow.inputs import RunInput, ScanInput
from storage.artifacts import ArtifactStore
from tasks.figures import gallery
from tasks.options import RunOptions
from tasks.ptycho.scan import Canvas
from tasks.scattering import Absorber
from tasks.simulation.chemical_states import STATES, absorption_jump, electrons_per_formula, eq1_in_electrons, formula_of
from tasks.simulation.energies import energy_grid
from tasks.simulation.specimen import SimulationOptions, grow_specimen, transmission_at
from tasks.simulation.truth import DENSITY_V_M3

OFFSET_EV = 2.5
"""What the made-up beamline's axis lacks."""
CANVAS = Canvas((64, 64), 15e-9, (0.0, 0.0))
AXIS_M = (np.arange(64) - 31.5) * 15e-9
OPTIONS = SimulationOptions(n_states=2, n_grains=2, radius_m=0.25e-6, thickness_m=0.9e-6)
SPECIMEN = grow_specimen(OPTIONS)
STANDARD = dataclasses.replace(SPECIMEN, grain_states=np.ones_like(SPECIMEN.grain_states))


def facts(name: str, absorber: Absorber, standard: bool = False) -> RunInput:
    energies_ev = energy_grid(20, absorber.edge_energy_ev) - OFFSET_EV
    scans = tuple(ScanInput(f"s{i}", float(e), 100, 64, f"{name}{i}", CANVAS) for i, e in enumerate(energies_ev))
    formula = formula_of(STATES[0], absorber)
    words = {"element": absorber.element, "edge": absorber.edge}
    return RunInput(name, name, "particles", formula, words, {"probe": None}, scans, standard=standard)


def write_states(places, graph, absorber, specimens):
    """Each energy's true transmission, as the last round would leave it."""
    for i, unit in enumerate(unit for unit in graph.steps.values() if unit.stage == "reconstruct"):
        true_ev = unit.energy_ev + OFFSET_EV
        specimen = specimens[unit.dataset]
        electrons = electrons_per_formula(specimen.states, np.array([true_ev]), absorber)[0]
        image = transmission_at(specimen, electrons, AXIS_M, AXIS_M, true_ev)
        noise = np.random.default_rng(i).normal(0, 5e-4, (2, 64, 64))
        arrays = {
            "object": (image * np.exp(noise[0] + 1j * noise[1])).astype(np.complex64),
            "dose": np.full((64, 64), 1e4, np.float32), "probe": np.ones((1, 32, 32), np.complex64),
            "errors": np.linspace(0.1, 0.01, 3, dtype=np.float32), "prtf": np.linspace(1, 0, 33, dtype=np.float32),
            "positions_m": np.zeros((4, 2)), "displacement_px": np.empty((0, 2)), "scale": np.empty(0),
        }  # fmt: skip
        provenance = {"stage": "reconstruct", "seconds": 1.0, "inputs": [], "noise_error": 0.009}
        ArtifactStore(places.units).write(unit.key, arrays, provenance)


def xdi(state, absorber) -> str:
    energy = absorber.edge_energy_ev + np.arange(-120.0, 300.0, 0.5)
    mu = eq1_in_electrons(state, energy - absorber.edge_energy_ev, absorption_jump(absorber))
    head = f"#XDI/1.0\n# Column.1: energy eV\n# Column.2: mutrans\n# Sample.name: {formula_of(state, absorber)}\n#---\n"
    return head + "\n".join(f"{e:.2f} {m:.6f}" for e, m in zip(energy, mu, strict=True))


def run_options(absorber, **stages) -> RunOptions:
    given = {
        "reconstruct": {"cycles": 3}, "chemistry": {"preset": "chantler", "compounds": [formula_of(STATES[1], absorber)]},
        "align": {"energy_offset_ev": OFFSET_EV}, "domains": {"n_domains": 2, "replicates": 8},
    }  # fmt: skip
    return TypeAdapter(RunOptions).validate_python(given | stages)


def walk(places, graph, *stages):
    for unit in graph.steps.values():
        if not stages or unit.stage in stages:
            receipt = perform(StepRequest("run_1", unit, places), lambda _: None)
            assert receipt.fate == "done", (unit.name, receipt.message)


def place(folder) -> DataPaths:
    return DataPaths(folder / "datasets", folder / "units", folder / "runs")


@pytest.fixture(scope="module")
def iron(tmp_path_factory):
    """A particle of an iron oxide and a standard, two references, energies 2.5 eV off: the published run."""
    absorber = Absorber("Fe")
    places = place(tmp_path_factory.mktemp("iron"))
    options = run_options(absorber, references={"xdi": [xdi(state, absorber) for state in STATES[:2]]})
    graph = build_graph([facts("ds_p", absorber), facts("ds_s", absorber, standard=True)], options, "run_1")
    write_states(places, graph, absorber, {"ds_p": SPECIMEN, "ds_s": STANDARD})
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        # drawing is tests/tasks/figures' business, and slow
        patch.setattr(gallery, "figure_list", lambda study: seen.append(study) or {})
        walk(places, graph)
    return seen[0], xr.open_datatree(places.results("run_1"), engine="zarr").load()


def interior():
    y, x = np.meshgrid(AXIS_M, AXIS_M, indexing="ij")
    thickness = SPECIMEN.thickness(y, x)
    return thickness > 0.6 * SPECIMEN.thickness_m, SPECIMEN.state(y, x), DENSITY_V_M3 * thickness


@pytest.mark.parametrize("element", ["Fe", "Mn"])
def test_any_edge_gives_true_maps_at_calibrated_energies(element, iron, tmp_path):
    absorber = Absorber(element)
    if element == "Fe":
        maps = {name: values.values for name, values in iron[1]["ds_p/maps"].data_vars.items()}
    else:
        places = place(tmp_path)
        graph = build_graph([facts("ds_p", absorber)], run_options(absorber), "run_1")
        write_states(places, graph, absorber, {"ds_p": SPECIMEN})
        walk(places, graph, "spectra", "fit", "maps")
        maps = ArtifactStore(places.units).read(graph.steps["maps"].key)
    inside, state, density = interior()
    # the common grid may begin elsewhere: compare the whole, not pixel by pixel
    edges = absorber.edge_energy_ev + np.array([one.edge_ev for one in SPECIMEN.states])
    kept = maps["edge_energy"][maps["mask"]]
    near = [np.median(kept[np.abs(kept - edge) < 0.45]) for edge in edges]
    assert near == pytest.approx(edges, abs=0.15)
    assert np.nansum(maps["n_absorber"][maps["mask"]]) == pytest.approx(density.sum(), rel=0.06)
    electrons = electrons_per_formula(SPECIMEN.states, absorber.edge_energy_ev + np.array([-45.0]), absorber)[0].real
    assert np.nanmedian(maps["electron_ratio"]) == pytest.approx(electrons[state][inside].mean(), abs=1.5)


def test_a_standard_is_mapped_but_left_out_of_the_domains(iron):
    _, tree = iron
    assert list(tree["domains"]["dataset"].values) == ["ds_p"]
    assert "domains" not in tree["ds_s"].children
    edges = tree["ds_s/maps/edge_energy"].values
    assert np.nanmedian(edges) == pytest.approx(Absorber("Fe").edge_energy_ev + STATES[1].edge_ev, abs=0.1)


def test_fractions_have_intervals_and_domains_a_stability(iron):
    _, tree = iron
    pooled = tree["domains"]
    assert list(pooled["bound"].values) == ["lower", "upper"]
    for name, interval in (("fraction", "fraction_interval"), ("group_fraction", "group_interval")):
        assert np.all(pooled[interval].sel(bound="lower") <= pooled[name] + 1e-9)
        assert np.all(pooled[interval].sel(bound="upper") >= pooled[name] - 1e-9)
    assert pooled.attrs["agreement"] > 0.8
    assert pooled["domain_agreement"].values.min() > 0.8


def test_references_are_fitted_and_explain_the_pixels(iron):
    study, tree = iron
    edges = Absorber("Fe").edge_energy_ev + np.array([one.edge_ev for one in STATES[:2]])
    assert list(tree["references"]["reference"].values) == ["LiFeO2", "Li10/7Fe6/7O2"]
    assert tree["references/edge_energy"].values == pytest.approx(edges, abs=0.05)
    pure = tree["ds_s/references/fraction"].values
    assert np.nanmedian(pure, axis=(1, 2)) == pytest.approx([0, 1], abs=0.05)
    mixed = tree["ds_p/references/fraction"].values
    assert (np.sum(mixed > 0.9, axis=(1, 2)) / np.isfinite(mixed[0]).sum()).min() > 0.2
    assert [reference.name for reference in study.references] == list(tree["references"]["reference"].values)
    assert study.specimens[0].mixture.shape == mixed.shape


def test_theoretical_ratios_and_intervals_reach_the_figures(iron):
    study, tree = iron
    electrons = electrons_per_formula(STATES[:2], Absorber("Fe").edge_energy_ev + np.array([-45.0]), Absorber("Fe"))[0].real
    assert list(study.theory) == ["LiFeO2", "Li10/7Fe6/7O2"]
    assert list(study.theory.values()) == pytest.approx(electrons, abs=0.5)
    assert [specimen.standard for specimen in study.specimens] == [False, True]
    assert np.array_equal(study.domains.group_interval, tree["domains/group_interval"])
    assert study.absorber == "Fe"


def test_absorption_and_phase_can_be_fitted_together(tmp_path):
    absorber, places = Absorber(), place(tmp_path)
    options = run_options(absorber, kkr={"mode": "off"}, fit={"joint": True})
    graph = build_graph([facts("ds_p", absorber)], options, "run_1")
    write_states(places, graph, absorber, {"ds_p": STANDARD})
    walk(places, graph, "spectra", "fit", "maps")
    maps = ArtifactStore(places.units).read(graph.steps["maps"].key)
    kept = maps["edge_energy"][maps["mask"]]
    assert np.median(kept) == pytest.approx(absorber.edge_energy_ev + STATES[1].edge_ev, abs=0.1)
    with pytest.raises(ValueError, match="has used the phase already"):
        run_options(absorber, fit={"joint": True})
