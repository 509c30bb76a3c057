"""Datasets and options that cannot make a run are refused before anything is computed, with every fault by its field."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from service.errors import InvalidInputError
from service.workflow.inputs import RunInput, ScanInput
from service.workflow.preflight import check_run
from tasks.options import RunOptions
from tasks.ptycho.scan import Canvas


def options(**stages) -> RunOptions:
    return TypeAdapter(RunOptions).validate_python(stages)


def facts(energies_ev, name="ds_a", is_open=False, element="V", formula="LiVO2"):
    canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"s{i}", float(e), 16, 32, "", canvas) for i, e in enumerate(energies_ev))
    return RunInput(name, name, "g", formula, {"element": element, "edge": "K"}, {}, scans, is_open)


GRID = np.linspace(5420, 5540, 12)


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ([], "at least one dataset"),
        ([facts([])], "no scans"),
        ([facts(GRID[:9])], "at least 10"),
        ([facts([5420.0, 5540.0])], "at least 10"),
        ([facts(GRID + 500)], "does not enclose"),
        ([facts(GRID), facts(GRID, "ds_b", element="Fe", formula="LiFeO2")], "share one absorber"),
        ([facts(GRID), facts(GRID + 0.2, "ds_b")], "same energies"),
        ([facts(GRID), facts([5420.0], "ds_b")], "same energies"),
        ([facts(GRID + 1647, element="Fe", formula="LiFeO2")], "chantler"),
    ],
)
def test_runs_that_could_not_end_well_are_refused_with_the_reason(datasets, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        check_run(datasets, options())
    assert caught.value.faults


@pytest.mark.parametrize(
    "datasets",
    [
        [facts(GRID)],
        [facts([5420.0])],
        [facts([5420.0], element="Fe", formula="LiFeO2")],
        [facts(GRID[:3], is_open=True)],
        [facts([], is_open=True)],
        [facts(GRID), facts(GRID + 0.01, "ds_b")],
        [facts(GRID), facts(GRID[:2], "ds_b", is_open=True)],
    ],
)
def test_runs_that_may_end_well_are_taken(datasets):
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
    ],
)
def test_known_compounds_and_calibration_are_judged_at_submission(stages, field, words):
    grid = np.linspace(5405, 5512, 12)
    with pytest.raises(InvalidInputError, match=words) as refused:
        check_run([facts(grid)], options(**stages))
    assert [fault.field for fault in refused.value.faults] == [field]


def test_other_edges_are_told_which_constants_to_choose():
    iron = facts(np.linspace(7070, 7190, 12), element="Fe", formula="LiFePO4")
    with pytest.raises(InvalidInputError, match="chantler") as refused:
        check_run([iron], options())
    assert [fault.field for fault in refused.value.faults] == ["options.chemistry.preset"]
    check_run([iron], options(chemistry={"preset": "chantler"}, references={"xdi": []}))
    check_run([facts(GRID)], options(references={"xdi": [XDI]}, chemistry={"compounds": ["LiVO3"]}))
