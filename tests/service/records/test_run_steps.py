"""Steps of runs as the catalogue keeps them: written down for what they were found from, and held to it."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from service.errors import NotFoundError
from service.records.run_inputs import RunInputReader
from service.records.run_repository import RunRepository
from service.records.run_steps import N_BYTES, RunStepRepository, RunSteps, numbers, short_keys
from storage.catalogue.database import Row
from tasks.options.run import RunOptions

STEPS = RunSteps.of({"a", "b", "c"}, {"c"})


@pytest.fixture
def dataset_id(bench: Any) -> str:
    """A sealed dataset of two scans, and a run on it that has failed."""
    dataset_id = str(bench.fill(2))
    bench.datasets.seal(dataset_id)
    repository = RunRepository(bench.catalogue)
    repository.open_run("run_1", "", [dataset_id], RunOptions())
    repository.end_run("run_1", "failed", "the sky fell down")
    return dataset_id


@pytest.fixture
def kept(bench: Any) -> RunStepRepository:
    return RunStepRepository(bench.catalogue, RunInputReader(bench.repository))


def known(bench: Any, kept: RunStepRepository) -> dict[str, RunSteps]:
    """What is known of all runs now."""
    runs: list[Row] = bench.catalogue.runs.page()
    return kept.known(runs, kept.bases(runs))


def test_past_rounds_are_needed_until_a_run_succeeds() -> None:
    assert set(numbers([STEPS.needed_in("succeeded")])) == set(numbers([short_keys(["a", "b"])]))
    for state in ("queued", "running", "failed", "cancelled"):
        assert set(numbers([STEPS.needed_in(state)])) == set(numbers([short_keys(["a", "b", "c"])]))


def test_short_keys_of_many_keys_differ() -> None:
    keys = [f"{number:040x}-reconstruct" for number in range(10_000)]
    assert len(short_keys(keys)) == N_BYTES * len(keys)
    assert len(np.unique(numbers([short_keys(keys)]))) == len(keys)
    assert numbers([]).size == 0


def test_what_was_noted_is_known_until_the_dataset_is_another(bench: Any, kept: RunStepRepository, dataset_id: str) -> None:
    kept.note("run_1", RunInputReader(bench.repository).read([dataset_id]), STEPS)
    assert known(bench, kept) == {"run_1": STEPS}
    bench.repository.get(dataset_id)
    assert known(bench, kept) == {"run_1": STEPS}
    (bench.store.root / dataset_id / "scans" / "e0" / "zarr.json").write_text("{}")
    bench.repository.get(dataset_id)  # notices the damage
    assert known(bench, kept) == {}


def test_nothing_is_known_of_a_run_that_goes_on(bench: Any, kept: RunStepRepository, dataset_id: str) -> None:
    kept.note("run_1", RunInputReader(bench.repository).read([dataset_id]), STEPS)
    RunRepository(bench.catalogue).reopen_run("run_1")
    assert known(bench, kept) == {}


def test_steps_of_other_inputs_are_not_noted(bench: Any, kept: RunStepRepository, dataset_id: str) -> None:
    other = bench.fill(3)
    reader = RunInputReader(bench.repository)
    kept.note("run_1", reader.read([other]), STEPS)  # it is open
    bench.datasets.seal(other)
    inputs = reader.read([dataset_id])
    kept.note("run_1", [dataclasses.replace(one, is_open=True) for one in inputs], STEPS)  # sealed since
    kept.note("run_1", [], STEPS)
    assert bench.catalogue.run_steps.rows() == []
    bench.store.delete(dataset_id)
    with pytest.raises(NotFoundError):
        kept.note("run_1", inputs, STEPS)


@pytest.mark.parametrize("names", [None, 5, [], ["ds_none"], [["ds_a"]]])
def test_a_run_whose_datasets_are_not_known_has_no_basis(
    bench: Any, kept: RunStepRepository, dataset_id: str, names: object
) -> None:
    assert kept.bases([{"id": "run_1", "datasets": names}]) == {}
    assert list(kept.bases([{"id": "run_1", "datasets": [dataset_id]}])) == ["run_1"]
