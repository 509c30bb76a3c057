"""The barrier between two rounds: what every energy takes back from all of them."""

from typing import Any

from service.correction import correction_arrays
from service.desk import Desk, Facts
from service.meeting import Meeting, kk_facts


def couple(desk: Desk, **who: Any) -> Facts:
    """Bring all energies together, as `service.meeting.Meeting` has it, and keep what each takes back."""
    found, corrections = Meeting(**who).hold(desk)
    return desk.write(correction_arrays(corrections), **kk_facts(found))
