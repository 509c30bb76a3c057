"""One piece of work, and the key under which its result is kept.

A unit's key is a digest of its stage, the stage's version, its options and the keys of what it reads: the same key is
the same result, whichever run asks. What computes a stage stands in the file of its name in `service.stages`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydantic_core import to_jsonable_python

STAGES: Final = {
    "orientation": 2,
    "reconstruct": 7,
    "couple": 1,
    "spectra": 3,
    "fit": 2,
    "maps": 2,
    "references": 1,
    "domains": 3,
    "figures": 3,
    "results": 3,
}
"""Every stage in order, with its version: raise it when the stage computes something else from the same input."""


@dataclass(frozen=True)
class Step:
    """One piece of work: named for people, keyed for the store; ``arguments`` go to the stage's function.

    ``needs`` are the names, ``inputs`` the keys of the units it reads.
    """

    name: str
    stage: str
    key: str
    arguments: Mapping[str, Any]
    needs: tuple[str, ...]
    inputs: tuple[str, ...]
    cost: float
    energy_ev: float | None = None


Inputs: TypeAlias = "Step | Sequence[Inputs] | None"


def make_unit(
    stage: str,
    label: str,
    arguments: Mapping[str, Any],
    inputs: Mapping[str, Inputs],
    *,
    cost: float,
    energy_ev: float | None = None,
) -> Step:
    """A unit of a stage; each of ``inputs`` becomes an argument holding the key (or keys) of the units it names."""
    everything = {**arguments, **{name: keys_of(units) for name, units in inputs.items()}}
    read = [unit for units in inputs.values() for unit in as_list(units)]
    needs, from_keys = tuple(unit.name for unit in read), tuple(unit.key for unit in read)
    key = f"{digest([stage, STAGES[stage], everything])}-{stage}"
    return Step(f"{stage}{label}", stage, key, everything, needs, from_keys, cost, energy_ev)


def as_list(units: Inputs) -> list[Step]:
    """Whatever a unit reads, as a flat list of units."""
    if units is None:
        return []
    return [units] if isinstance(units, Step) else [unit for group in units for unit in as_list(group)]


def keys_of(units: Inputs) -> Any:
    """The same shape of nothing, one, or lists of units, with the key in place of each unit."""
    if units is None or isinstance(units, Step):
        return units.key if units else None
    return [keys_of(group) for group in units]


def digest(value: object) -> str:
    """SHA-256 [hex, 40 digits] of anything JSON can say, independent of the order of names."""
    text = json.dumps(to_jsonable_python(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:40]
