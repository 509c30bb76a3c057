"""Datasets and options that cannot make a run are refused before anything is computed, with every error by its field."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from service.errors import InvalidInputError
from service.workflow.inputs import RunInput, ScanInput
from service.workflow.preflight import check_run
from tasks.options.run import OPTIONS, RunOptions
from tasks.ptycho.scan import Canvas


def options(**stages: Any) -> RunOptions:
    """Options that differ from their defaults."""
    return OPTIONS.validate_python(stages)


def dataset(
    energies_ev: ArrayLike, name: str = "ds_a", is_open: bool = False, element: str = "V", formula: str = "LiVO2"
) -> RunInput:
    """A dataset whose scans were never measured."""
    canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"s{i}", float(e), 16, 32, "", canvas) for i, e in enumerate(np.asarray(energies_ev)))
    return RunInput(name, name, "g", formula, {"element": element, "edge": "K"}, {}, scans, is_open)


GRID = np.linspace(5420, 5540, 12)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ([], "at least one dataset"),
        ([dataset([])], "no scans"),
        ([dataset(GRID[:9])], "at least 10"),
        ([dataset([5420.0, 5540.0])], "at least 10"),
        ([dataset(GRID + 500)], "does not enclose"),
        ([dataset(GRID), dataset(GRID, "ds_b", element="Fe", formula="LiFeO2")], "share one absorber"),
        ([dataset(GRID), dataset(GRID + 0.2, "ds_b")], "same energies"),
        ([dataset(GRID), dataset([5420.0], "ds_b")], "same energies"),
        ([dataset(GRID + 1647, element="Fe", formula="LiFeO2")], "chantler"),
    ],
)
def test_runs_that_could_not_end_well_are_refused_with_the_reason(datasets: list[RunInput], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        check_run(datasets, options())
    assert caught.value.faults


@pytest.mark.parametrize(
    "datasets",
    [
        [dataset(GRID)],
        [dataset([5420.0])],
        [dataset([5420.0], element="Fe", formula="LiFeO2")],
        [dataset(GRID[:3], is_open=True)],
        [dataset([], is_open=True)],
        [dataset(GRID), dataset(GRID + 0.01, "ds_b")],
        [dataset(GRID), dataset(GRID[:2], "ds_b", is_open=True)],
    ],
)
def test_runs_that_may_end_well_are_taken(datasets: list[RunInput]) -> None:
    check_run(datasets, options())


XDI = "#XDI/1.0\n# Column.1: energy eV\n# Column.2: mutrans\n#---\n" + "\n".join(
    f"{e} {0.1 + (e > 5475)}" for e in range(5350, 5700, 2)
)


@pytest.mark.parametrize(
    ("stages", "field", "words"),
    [
        ({"references": {"xdi": ["no spectrum"]}}, "options.references.xdi.0", "must be XDI"),
        ({"references": {"xdi": [XDI, XDI.partition("\n5500")[0]]}}, "options.references.xdi.1", "covers"),
        ({"chemistry": {"compounds": ["LiFeO2"]}}, "options.chemistry.compounds.0", "holds no V"),
        ({"align": {"energy_offset_ev": -50}}, "datasets.0", "does not enclose"),
        ({"chemistry": {"phase_energy_ev": 1e308}}, "options.chemistry.phase_energy_ev", "between the measured energies"),
        ({"chemistry": {"phase_energy_ev": 5403.0}}, "options.chemistry.phase_energy_ev", "5405.0 to 5512.0 eV"),
        (
            {"chemistry": {"phase_energy_ev": 5405.0}, "align": {"energy_offset_ev": 5.0}},
            "options.chemistry.phase_energy_ev",
            "5410.0 to 5517.0 eV",
        ),
    ],
)
def test_known_compounds_and_calibration_are_judged_at_submission(stages: dict[str, Any], field: str, words: str) -> None:
    grid = np.linspace(5405, 5512, 12)
    with pytest.raises(InvalidInputError, match=words) as refused:
        check_run([dataset(grid)], options(**stages))
    assert [fault.field for fault in refused.value.faults] == [field]


@pytest.mark.parametrize("named", [5.465, 5403.0, 5514.0, 1e308])
def test_a_reference_far_from_all_energies_is_refused(named: float) -> None:
    chosen = options(reconstruct={"reference_energy_ev": named})
    with pytest.raises(InvalidInputError, match=r"between the measured energies, 5405\.0 to 5512\.0 eV.*Is it in eV\?") as caught:
        check_run([dataset(np.linspace(5405, 5512, 12))], chosen)
    assert [fault.field for fault in caught.value.faults] == ["options.reconstruct.reference_energy_ev"]
    check_run([dataset([5420.0])], chosen)
    check_run([dataset([5420.0, 5421.0], is_open=True)], chosen)


@pytest.mark.parametrize("named", [5404.5, 5460.0, 5512.9])
def test_a_reference_may_be_named_near_a_measured_energy(named: float) -> None:
    check_run([dataset(np.linspace(5405, 5512, 12))], options(reconstruct={"reference_energy_ev": named}))


@pytest.mark.parametrize(("named", "words"), [(5.431, "5420 eV"), (5431.0, "5430.91 eV"), (9000.0, "5540 eV")])
def test_energies_that_were_not_measured_cannot_be_left_out(named: float, words: str) -> None:
    chosen = options(align={"leave_out_ev": [5420.0, named]})
    with pytest.raises(InvalidInputError, match=f"were measured, in eV; got .*nearest is {words}") as caught:
        check_run([dataset(GRID), dataset(GRID, "ds_b")], chosen)
    assert [fault.field for fault in caught.value.faults] == ["options.align.leave_out_ev.1"]
    check_run([dataset(GRID[:3], is_open=True)], chosen)


def test_what_is_left_is_judged_as_if_no_more_had_been_measured() -> None:
    check_run([dataset(GRID)], options(align={"leave_out_ev": GRID[[0, 5]].tolist()}))
    check_run([dataset(GRID), dataset(np.delete(GRID, 5), "ds_b")], options(align={"leave_out_ev": [GRID[5] + 0.04]}))
    with pytest.raises(InvalidInputError, match="has 9 energies"):
        check_run([dataset(GRID)], options(align={"leave_out_ev": GRID[:3].tolist()}))
    with pytest.raises(InvalidInputError, match="has no scans"):
        check_run([dataset(GRID)], options(align={"leave_out_ev": GRID.tolist()}))


def test_a_few_energies_are_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidInputError, match=r"has 2 energies.*send each energy as a dataset of its own"):
        check_run([dataset([5420.0, 5540.0])], options())


@pytest.mark.parametrize("phase_energy_ev", ["lowest", 5405.0, 5404.5, 5460.0, 5512.9])
def test_the_phase_may_be_taken_at_any_measured_energy(phase_energy_ev: Any) -> None:
    check_run([dataset(np.linspace(5405, 5512, 12))], options(chemistry={"phase_energy_ev": phase_energy_ev}))
    check_run([dataset([5420.0, 5421.0], is_open=True)], options(chemistry={"phase_energy_ev": 5540.0}))


def test_other_edges_are_told_which_constants_to_choose() -> None:
    iron = dataset(np.linspace(7070, 7190, 12), element="Fe", formula="LiFePO4")
    with pytest.raises(InvalidInputError, match="chantler") as refused:
        check_run([iron], options())
    assert [fault.field for fault in refused.value.faults] == ["options.chemistry.preset"]
    check_run([iron], options(chemistry={"preset": "chantler"}, references={"xdi": []}))
    check_run([dataset(GRID)], options(references={"xdi": [XDI]}, chemistry={"compounds": ["LiVO3"]}))


@pytest.mark.parametrize(
    ("datasets", "stages", "field", "message"),
    [
        ([dataset(GRID)], {"reconstruct": {"cycles": 100_000}, "kkr": {"start": 1, "every": 1}}, "options.kkr.every", "66"),
        ([dataset(GRID, is_open=True)], {"reconstruct": {"cycles": 100_000}, "kkr": {"every": 10}}, "options.kkr.every", "65"),
        (
            [dataset(np.linspace(5420, 5540, 1200), f"ds_{n}") for n in range(4)],
            {"reconstruct": {"cycles": 800}, "kkr": {"every": 60}},
            "options.kkr.every",
            "100",
        ),
        (
            [dataset(np.linspace(5420, 5540, 3000), f"ds_{n}") for n in range(7)],
            {"kkr": {"mode": "off"}},
            "datasets",
            "fewer datasets",
        ),
    ],
)
def test_a_run_of_too_many_steps_is_refused_with_the_option_to_change(
    datasets: list[RunInput], stages: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=r"steps; a run may have 20000: .*" + message) as caught:
        check_run(datasets, options(**stages))
    assert [fault.field for fault in caught.value.faults] == [field]


def test_the_advice_on_too_many_steps_is_enough() -> None:
    stages: dict[str, Any] = {"reconstruct": {"cycles": 100_000}, "kkr": {"start": 1, "every": 66}}
    check_run([dataset(GRID)], options(**stages))
    stages["kkr"]["every"] = 64
    with pytest.raises(InvalidInputError, match="steps"):
        check_run([dataset(GRID)], options(**stages))


def test_a_gauge_that_was_never_found_is_refused_for_measurements() -> None:
    with pytest.raises(
        InvalidInputError, match=r"align\.gauge must be found for objects that are reconstructed here, those of ds_a"
    ):
        check_run([dataset(GRID)], options(align={"gauge": "none"}))
    check_run([dataclasses.replace(dataset(GRID), kind="images")], options(align={"gauge": "none"}))


@pytest.mark.parametrize(("box", "is_refused"), [((0, 8, 0, 8), False), ((500, 600, 0, 8), True), ((0, 8, 60, 90), True)])
def test_an_empty_box_outside_the_images_is_refused_before_anything_is_computed(box: tuple[int, ...], is_refused: bool) -> None:
    chosen = options(align={"vacuum_box": list(box)})
    if not is_refused:
        check_run([dataset(GRID)], chosen)
        return
    with pytest.raises(InvalidInputError, match=r"align\.vacuum_box must lie within the images, which have at most 64 rows"):
        check_run([dataset(GRID)], chosen)
