"""Options that the chosen rule would ignore are refused by a sentence that names the rule."""

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.options.reconstruct import ReconstructOptions


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        (
            {"probe_regularisation": 0.5},
            'probe_regularisation has no effect with probe_update="cycle"; got probe_regularisation=0.5',
        ),
        ({"momentum_every": 16}, 'momentum_every has no effect with probe_update="cycle"'),
        ({"probe_update": "position", "probe_warmup": 5}, 'probe_warmup has no effect with probe_update="position"'),
        ({"probe_update": "position", "momentum": 0.5}, "momentum has no effect with .* and momentum_every=0"),
        ({"probe_update": "position", "object_momentum": 0}, "object_momentum has no effect with .* and momentum_every=0"),
        ({"beta": 0, "probe_start": 4}, "probe_start has no effect with beta=0"),
        ({"pilot_cycles": 30}, 'pilot_cycles has no effect with start_from="reference"'),
        ({"start_from": "optics", "reference_energy_ev": 5500.0}, 'reference_energy_ev has no effect with start_from="optics"'),
        ({"cycles": "auto", "settle": 1}, 'cycles="auto" needs settle < 1'),
        ({"probe_from": "pilot", "start_from": "pilot"}, "probe_from is the former name of start_from"),
        ({"refine_every": 10}, 'refine_every has no effect with position_refinement="none" and frame_flux=false'),
        ({"refine_start": 20}, "refine_start has no effect"),
    ],
)
def test_an_option_without_effect_is_refused(chosen: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ReconstructOptions(**chosen)


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"probe_update": "position", "momentum_every": 16, "momentum": 0.5, "object_momentum": 0.9, "probe_regularisation": 0.3},
        {"probe_update": "cycle", "momentum_every": 0, "probe_regularisation": 1.0, "pilot_cycles": 60, "refine_start": 10},
        {"start_from": "pilot", "pilot_cycles": 30},
        {"start_from": "reference", "reference_energy_ev": 5500.0, "cycles": "auto"},
        {"frame_flux": True, "refine_every": 10},
        {"position_refinement": "affine", "refine_start": 20},
        {"beta": 0, "object_momentum": 0.5},
    ],
)
def test_an_option_that_has_an_effect_or_its_default_is_accepted(chosen: dict[str, Any]) -> None:
    assert vars(ReconstructOptions(**chosen)).items() >= chosen.items()


def test_the_former_name_of_start_from_is_accepted() -> None:
    assert ReconstructOptions(probe_from="pilot").start_from == "pilot"  # type: ignore[call-arg]
