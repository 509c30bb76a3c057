"""What computes a stage is found by the stage's name, and brings no more than the stage needs."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from service.execution.worker import function_of
from service.workflow.step import STAGES

HOUSE = Path(__file__).resolve().parents[2]
FIRST_UNIT = """
import sys
from service.execution.worker import function_of
function_of(sys.argv[1])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_function_of_its_name_that_takes_a_desk(stage):
    function = function_of(stage)
    assert (function.__module__, function.__name__) == (f"service.stages.{stage}", stage)
    assert next(iter(inspect.signature(function).parameters)) == "desk"


def test_the_first_reconstruction_waits_for_nothing_that_only_later_stages_need():
    asked = [sys.executable, "-c", FIRST_UNIT, "reconstruct"]
    loaded = subprocess.run(asked, cwd=HOUSE, capture_output=True, text=True, check=True, timeout=300).stdout.split()
    assert "jax" in loaded
    assert {"matplotlib", "numba", "skimage", "sklearn", "xraydb"}.isdisjoint(loaded)
