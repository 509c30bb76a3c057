"""What a running step stores is what its stage has declared, and a cancelled step stops at its next report."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from service.settings import DataPaths
from service.stages.context import StageContext, StepRequest, check_arrays, stored_warnings
from service.workflow.step import Step, StepAttributes
from storage.artifacts import ArtifactStore
from storage.errors import LayoutError
from storage.layout import ArraySpec
from tasks.errors import CancelledError


@dataclass(frozen=True, kw_only=True)
class MapStep(Step):
    """Stores a map and labels of any number of datasets."""

    stage: ClassVar[str] = "map"
    version: ClassVar[int] = 1
    arrays: ClassVar[tuple[ArraySpec, ...]] = (
        ArraySpec("value", ("y", "x"), ("float32",), "1", "a map"),
        ArraySpec("mask", ("y", "x"), ("bool",), "1", "where it is known"),
        ArraySpec("label{dataset}", ("y", "x"), ("int8",), "1", "labels of one dataset"),
    )

    def run(self, context: StageContext) -> StepAttributes:
        return context.write({"value": np.zeros((2, 3), np.float32)}, warnings=["all zero"], n=6)


VALUE, MASK, LABEL = np.zeros((2, 3), np.float32), np.zeros((2, 3), bool), np.zeros((4, 5), np.int8)


def test_a_step_stores_its_arrays_attributes_and_warnings_and_who_made_them(paths: DataPaths) -> None:
    step = MapStep()
    context = StageContext(StepRequest("run_1", step, paths), lambda _: None)
    assert step.run(context) == {"n": 6, "warnings": ["all zero"]}
    attributes = context.attributes(step.ref)
    assert (attributes["stage"], attributes["step"], attributes["inputs"], attributes["n"]) == ("map", "map", [], 6)
    assert context.read(step.ref, "value")["value"].shape == (2, 3)
    assert 0 < context.storage_s <= context.seconds


def test_warnings_are_stored_with_the_step_and_go_with_it(paths: DataPaths) -> None:
    step, artifacts = MapStep(), ArtifactStore(paths.artifacts)
    assert stored_warnings(artifacts, step) == ()
    step.run(StageContext(StepRequest("run_1", step, paths), lambda _: None))
    assert stored_warnings(artifacts, step) == ["all zero"]
    artifacts.delete(step.key)
    assert stored_warnings(artifacts, step) == ()


def test_declared_arrays_are_stored_each_label_with_an_extent_of_its_own() -> None:
    check_arrays(MapStep.arrays, {"value": VALUE, "mask": MASK, "label0": LABEL, "label1": LABEL[:, :2]})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": VALUE}, "got 'other'"),
        ({"label": LABEL}, "got 'label'"),
        ({"value": VALUE.astype(float)}, "float64"),
        ({"value": VALUE[0]}, "value is"),
        ({"value": VALUE, "mask": MASK[:, :2]}, "mask has 2 along x"),
    ],
)
def test_arrays_that_the_stage_has_not_declared_are_refused(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        check_arrays(MapStep.arrays, arrays)


def test_progress_is_reported_now_and_then_until_the_step_is_cancelled(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("service.stages.context.time.monotonic", lambda: clock[0])
    reports: list[dict[str, Any]] = []
    context = StageContext(StepRequest("run_1", MapStep(), paths), reports.append, lambda: clock[0] > 5)
    for cycle in range(1, 41):
        clock[0] += 0.1
        context.report_cycle(cycle, 100, 0.5)
    assert 6 <= len(reports) <= 8
    assert (reports[-1]["run_id"], reports[-1]["n_cycles"], reports[-1]["error"]) == ("run_1", 100, 0.5)
    clock[0] = 6.0
    with pytest.raises(CancelledError, match="no longer wanted"):
        context.report_cycle(41, 100, 0.5)
