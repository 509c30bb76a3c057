"""One step of a run: what is computed from what, and the key under which its result is kept.

A stage is a subclass of `Step`: a frozen dataclass whose fields are its options and its inputs. The key of a step is a
digest of its stage, the stage's version, its options and the keys of its inputs, so the same key is the same result,
whichever run asks for it. Every stage has its file in `service.stages`.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, Final, Generic, Self, TypeAlias, TypeVar

from pydantic_core import to_jsonable_python

from storage.layout import ArraySpec

FIXED_S: Final = 1.0
"""Estimated cost of a step that is short beside reconstructions and fits [s]."""
NOT_IN_KEY: Final = {"in_key": False}
"""Metadata of a field on which the result does not depend, such as a name for people."""

StepAttributes: TypeAlias = dict[str, Any]
"""What a step says of its result, small and JSON-able: R factor, number of pixels, ``warnings`` for people."""

StepT_co = TypeVar("StepT_co", bound="Step", covariant=True)


@dataclass(frozen=True)
class StepRef(Generic[StepT_co]):
    """Reference to a step whose arrays another step reads, as small as its name and its key."""

    name: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Step(ABC):
    """One step of a run; a subclass is a stage.

    Fields that hold references (`StepRef`, alone, optional, or in tuples and tuples of tuples) are the inputs. All other
    fields must be JSON-able by pydantic, and are part of the key unless their metadata is `NOT_IN_KEY`.

    Attributes
    ----------
    stage : str
        Name of the stage.
    part : str
        Tells kinds of steps within a stage apart, in their names and keys; "" of a stage that has one kind.
    version : int
        Raised when the stage computes something else from the same fields, so that no older result is taken for new.
    arrays : tuple of storage.layout.ArraySpec
        Arrays that a step of the stage may store. A name such as ``label{dataset}`` stands for one array a dataset.
    is_optional : bool
        A step that fails is a warning of its run, which succeeds without it. One that reads its arrays must do without them then.
    """

    stage: ClassVar[str]
    part: ClassVar[str] = ""
    version: ClassVar[int]
    arrays: ClassVar[tuple[ArraySpec, ...]] = ()
    is_optional: ClassVar[bool] = False

    label: str = field(default="", metadata=NOT_IN_KEY)
    """Tells steps of one stage apart in a run's graph."""

    @abstractmethod
    def run(self, context: Any) -> StepAttributes:
        """Compute the step on a worker, store its arrays and return its attributes.

        Stages name the class of ``context``, `service.stages.context.StageContext`, which is of a layer above this one.
        """

    @property
    def cost(self) -> float:
        """Estimated time on one core [s]; only ratios matter, for the progress of a run."""
        return FIXED_S

    @property
    def energy_ev(self) -> float | None:
        """Photon energy [eV] of a step that concerns a single one."""
        return None

    @property
    def name(self) -> str:
        """Name of the step within its run's graph, and on the dashboard."""
        return f"{self.stage}{self.part}{self.label}"

    @cached_property
    def key(self) -> str:
        """Digest of all that the result depends on, and the stage's name."""
        keyed = {one.name: with_keys(getattr(self, one.name)) for one in fields(self) if one.metadata.get("in_key", True)}
        return f"{digest([self.stage + self.part, self.version, keyed])}-{self.stage}"

    @property
    def ref(self) -> StepRef[Self]:
        """Reference to this step, for the inputs of others."""
        return StepRef(self.name, self.key)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the steps whose arrays are read."""
        return tuple(ref.name for ref in self._refs())

    @property
    def inputs(self) -> tuple[str, ...]:
        """Keys of the steps whose arrays are read, in the order of `needs`."""
        return tuple(ref.key for ref in self._refs())

    def _refs(self) -> Iterator[StepRef["Step"]]:
        for one in fields(self):
            yield from refs_in(getattr(self, one.name))


def refs_in(value: object) -> Iterator[StepRef[Step]]:
    """References that a field's value holds, in order."""
    if isinstance(value, StepRef):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from refs_in(item)


def with_keys(value: object) -> object:
    """A field's value with the key in place of each reference."""
    if isinstance(value, StepRef):
        return value.key
    return [with_keys(item) for item in value] if isinstance(value, tuple) else value


def digest(value: object) -> str:
    """SHA-256 [40 hexadecimal digits] of a value that pydantic can write as JSON, independent of the order of names.

    Raises
    ------
    ValueError
        The value holds a number that JSON does not have, such as NaN.
    """
    text = json.dumps(to_jsonable_python(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:40]
