"""Warnings of steps are reported once to each run, and summed up for each stage."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from service.workflow.step import Step, StepAttributes
from service.workflow.warnings import RunWarnings, gathered


@dataclass(frozen=True, kw_only=True)
class AnyStep(Step):
    stage: ClassVar[str] = "reconstruct"
    version: ClassVar[int] = 1

    def run(self, context: Any) -> StepAttributes:
        return {}


def step(name: str) -> Step:
    """A step of the stage reconstruct."""
    return AnyStep(label=f"-{name}")


def test_a_warning_is_new_once_whichever_step_gives_it() -> None:
    warnings = RunWarnings()
    assert warnings.add(step("round1"), []) == []
    assert warnings.add(step("round2"), ["stopped"]) == ["stopped"]
    assert warnings.add(step("round3"), ["stopped", "far"]) == ["far"]
    assert warnings.seen_steps == {"reconstruct-round1", "reconstruct-round2", "reconstruct-round3"}


def test_what_an_earlier_service_told_is_not_told_again_but_counts_for_the_stage() -> None:
    warnings = RunWarnings({"stopped"})
    assert warnings.add(step("round1"), ["stopped"]) == []
    assert warnings.summary("reconstruct") == "stopped"


@pytest.mark.parametrize(
    ("texts", "line"), [([], None), (["a"], "a"), (["a", "b", "c"], "a (and 2 more among the run's events)")]
)
def test_what_a_stage_has_to_say_is_its_note(texts: list[str], line: str | None) -> None:
    warnings = RunWarnings()
    for number, text in enumerate(texts):
        warnings.add(step(str(number)), [text])
    assert (warnings.summary("reconstruct"), warnings.summary("maps")) == (line, None)


def test_warnings_of_scans_are_told_once_with_the_scans_they_concern() -> None:
    every, some, own = "no probe is described", "3 frames are dark", "a hot pixel"
    found = {f"s{i}": [every, *([some] if i < 4 else []), *([own] if i == 1 else [])] for i in range(5)}
    assert gathered(found) == (every, f"s0, s1, s2 and 1 more scans: {some}", f"s1: {own}")
    assert gathered({"s0": [own]}) == (own,)
    assert gathered({}) == ()
