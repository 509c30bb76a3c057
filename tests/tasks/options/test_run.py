"""A preset gives the defaults of every stage, and options are read as they were written."""

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.options.reconstruct import ReconstructOptions
from tasks.options.run import OPTIONS, RunOptions


def test_a_preset_gives_defaults_and_every_option_may_still_be_given() -> None:
    read = OPTIONS.validate_python
    paper = read({"preset": "paper", "fit": {"prior": "mean"}})
    chosen = paper.reconstruct
    assert (chosen.cycles, chosen.start_from, chosen.probe_update, chosen.settle) == (800, "optics", "position", 0)
    assert (paper.fit.mask, paper.fit.prior, paper.domains.borders, paper.chemistry.preset) == (
        "paper",
        "mean",
        "kmeans",
        "paper",
    )
    assert paper.rounds() == [500] + 6 * [50]
    assert read({"preset": "default"}) == RunOptions()


def test_options_with_a_preset_are_the_same_when_read_again() -> None:
    adapter = OPTIONS
    paper = RunOptions(preset="paper", reconstruct=ReconstructOptions(cycles=30))
    assert paper.reconstruct == ReconstructOptions(cycles=30)
    assert paper.domains.borders == "kmeans"
    assert adapter.validate_json(adapter.dump_json(paper)) == paper


@pytest.mark.parametrize(
    "given", [{"preset": "thesis"}, {"preset": ["paper"]}, {"preset": "paper", "fit": 3}, {"preset": None}, 3]
)
def test_no_such_preset(given: Any) -> None:
    with pytest.raises(ValidationError):
        OPTIONS.validate_python(given)


def test_one_energy_may_be_left_out_without_brackets() -> None:
    for given in (5478, 5478.0, [5478]):
        assert OPTIONS.validate_python({"align": {"leave_out_ev": given}}).align.leave_out_ev == (5478.0,)
    for wrong in ("5478,5480", True, -5478.0, [0.0], [5478.0] * 1001):
        with pytest.raises(ValidationError, match=r"align\.leave_out_ev"):
            OPTIONS.validate_python({"align": {"leave_out_ev": wrong}})
