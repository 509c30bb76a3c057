"""The key of a step says all that its result depends on."""

import pickle
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest

from service.workflow.step import NOT_IN_KEY, Step, StepAttributes, StepRef, digest


@dataclass(frozen=True, kw_only=True)
class SourceStep(Step):
    """Reads nothing."""

    stage: ClassVar[str] = "source"
    version: ClassVar[int] = 1

    of: str
    weight: float = field(default=1.0, metadata=NOT_IN_KEY)

    def run(self, context: Any) -> StepAttributes:
        return {}


@dataclass(frozen=True, kw_only=True)
class SinkStep(Step):
    """Reads steps in every shape that a field may have."""

    stage: ClassVar[str] = "sink"
    version: ClassVar[int] = 1

    nested: tuple[tuple[StepRef[SourceStep], ...], ...] = ()
    one: StepRef[SourceStep] | None = None

    def run(self, context: Any) -> StepAttributes:
        return {}


class NewerSinkStep(SinkStep):
    version: ClassVar[int] = 2


ONE, OTHER = SourceStep(label="-a", of="a"), SourceStep(label="-b", of="b")


def test_a_digest_knows_no_order_of_names_and_refuses_what_is_no_number() -> None:
    assert digest({"a": 1, "b": [2.5]}) == digest({"b": [2.5], "a": 1}) != digest({"a": 1, "b": [2.25]})
    with pytest.raises(ValueError, match="JSON"):
        digest({"a": float("nan")})


def test_a_step_needs_and_reads_what_its_fields_refer_to_in_whatever_shape() -> None:
    step = SinkStep(nested=((ONE.ref,), (OTHER.ref,)), one=ONE.ref)
    assert step.needs == ("source-a", "source-b", "source-a")
    assert step.inputs == (ONE.key, OTHER.key, ONE.key)
    assert (ONE.needs, SinkStep().inputs) == ((), ())


def test_the_key_depends_on_options_inputs_their_shape_and_the_version() -> None:
    steps = [
        SinkStep(nested=((ONE.ref,), (OTHER.ref,))),
        SinkStep(nested=((OTHER.ref,), (ONE.ref,))),
        SinkStep(nested=((ONE.ref, OTHER.ref),)),
        SinkStep(one=ONE.ref),
        SinkStep(),
        NewerSinkStep(),
        ONE,
        OTHER,
    ]
    assert len({step.key for step in steps}) == len(steps)
    assert all(step.key.endswith(f"-{step.stage}") for step in steps)


def test_names_for_people_and_estimates_are_no_part_of_the_key() -> None:
    renamed = replace(ONE, label="-else", weight=9.0)
    assert (renamed.key, renamed.name) == (ONE.key, "source-else")
    assert replace(ONE, of="b").key == OTHER.key, "a changed copy has a key of its own"


def test_a_step_that_has_been_sent_elsewhere_is_the_same() -> None:
    step = SinkStep(one=ONE.ref)
    sent: SinkStep = pickle.loads(pickle.dumps(step))
    assert (sent, sent.key, sent.needs) == (step, step.key, step.needs)
