"""The barrier between two rounds: what every energy takes back from all of them."""

from typing import Any

from service.stages.context import StageContext, StepAttributes
from service.stages.correction import correction_arrays
from service.stages.coupling import Meeting, kk_facts


def couple(desk: StageContext, **who: Any) -> StepAttributes:
    """Bring all energies together, as `service.stages.coupling.Meeting` has it, and keep what each takes back."""
    found, corrections = Meeting(**who).hold(desk)
    return desk.write(correction_arrays(corrections), **kk_facts(found))
