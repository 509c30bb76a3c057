"""What a project may use, with the numbers in every refusal."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from service.errors import QuotaError, StorageFullError, TooCostlyError, TooManyRunsError
from service.settings import Settings
from service.workflow.inputs import RunInput, ScanInput
from service.workflow.quotas import Limits, check_free_disk, run_cost
from tasks.options.run import RunOptions
from tasks.ptycho.scan import Canvas


def made_up_input(n_energies: int) -> RunInput:
    """A dataset whose scans were never measured."""
    canvas = Canvas((64, 64), 1.5e-8, (0.0, 0.0))
    scans = tuple(ScanInput(f"s{i}", 5420.0 + i, 16, 32, "", canvas) for i in range(n_energies))
    return RunInput("ds_a", "a", "g", "LiVO2", {"element": "V", "edge": "K"}, {}, scans, False)


OPTIONS = TypeAdapter(RunOptions).validate_python({"reconstruct": {"cycles": 100}})
COST = 100 * 12 * 16 * 32 * 32


def test_the_cost_of_a_run_is_cycles_times_frames_times_pixels() -> None:
    assert run_cost([made_up_input(12)], OPTIONS) == COST
    assert run_cost([made_up_input(12), made_up_input(12)], OPTIONS) == 2 * COST
    assert run_cost([made_up_input(0)], OPTIONS) == 0


@pytest.mark.parametrize(
    ("reconstruct", "kkr", "cost"),
    [
        ({"probe_modes": 1}, {}, COST),
        ({"probe_modes": 3}, {}, 3 * COST),
        ({"position_refinement": "points", "refine_start": 10, "refine_every": 5}, {}, (100 + 2 * 18) * COST / 100),
        ({"frame_flux": True, "refine_start": 90}, {}, (100 + 2 * 2) * COST / 100),
        ({"frame_flux": True, "refine_start": 100}, {}, COST),
        ({"start_from": "pilot", "pilot_cycles": 50}, {}, COST + 50 * COST / 1200),
        ({"start_from": "pilot", "pilot_cycles": 50, "probe_modes": 2}, {}, 2 * (COST + 50 * COST / 1200)),
        ({}, {"start": 40, "every": 20}, COST + 3 * 12 * 33 * 64 * 64),
        ({"cycles": "auto", "start_from": "optics"}, {}, 110 * COST / 100),
        ({"cycles": "auto"}, {}, 55 * COST / 100),
    ],
)
def test_all_that_is_computed_counts(reconstruct: dict[str, Any], kkr: dict[str, Any], cost: float) -> None:
    options = TypeAdapter(RunOptions).validate_python({"reconstruct": {"cycles": 100, **reconstruct}, "kkr": kkr})
    assert run_cost([made_up_input(12)], options) == pytest.approx(cost, rel=1e-12)


def test_energies_that_are_left_out_cost_nothing() -> None:
    options = TypeAdapter(RunOptions).validate_python(
        {"reconstruct": {"cycles": 100}, "align": {"leave_out_ev": [5421.0, 5430.0]}}
    )
    assert run_cost([made_up_input(12)], options) == COST * 10 / 12


def test_what_adds_to_the_cost_is_named() -> None:
    options = TypeAdapter(RunOptions).validate_python(
        {"reconstruct": {"cycles": 100, "probe_modes": 3, "frame_flux": True}, "kkr": {"start": 50}}
    )
    with pytest.raises(TooCostlyError, match="pixels with 3 probe modes, corrections of positions or flux, 1 couplings cost"):
        Limits(Settings(max_run_cost=COST)).check_cost([made_up_input(12)], options)


def test_a_larger_run_than_allowed_is_refused_by_its_numbers() -> None:
    Limits(Settings(max_run_cost=COST)).check_cost([made_up_input(12)], OPTIONS)
    Limits(Settings()).check_cost([made_up_input(12)], OPTIONS)
    with pytest.raises(TooCostlyError, match=r"100 cycles x 208 frames x 32\^2 pixels cost 2.13e\+07; .* 1.97e\+07") as caught:
        Limits(Settings(max_run_cost=COST)).check_cost([made_up_input(13)], OPTIONS)
    assert caught.value.faults[0].field == "options.reconstruct.cycles"


def test_one_run_more_than_allowed_is_refused() -> None:
    limits = Limits(Settings(max_unfinished_runs=2))
    limits.check_runs(1)
    with pytest.raises(TooManyRunsError, match=r"2 runs .* may have 2 "):
        limits.check_runs(2)
    Limits(Settings()).check_runs(10**6)


def test_uploads_under_way_count_together_and_give_back_what_they_took() -> None:
    limits = Limits(Settings(max_project_bytes=100))
    with limits.arrival("p", 10) as one, limits.arrival("p", 10) as other, limits.arrival("q", 0) as elsewhere:
        one.take(50)
        other.take(40)
        elsewhere.take(100)
        with pytest.raises(QuotaError, match="101 bytes"):
            other.take(1)
    with limits.arrival("p", 0) as later:
        later.take(100)


def test_what_needs_room_is_refused_while_too_little_of_the_disk_is_free(tmp_path: Path) -> None:
    check_free_disk(Settings(data_dir=tmp_path, min_free_bytes=0))
    with pytest.raises(StorageFullError, match="less than 1152921504606846976 bytes of disk are free"):
        check_free_disk(Settings(data_dir=tmp_path, min_free_bytes=1 << 60))
