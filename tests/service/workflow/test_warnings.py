"""What units have to say is told once to each run, and summed up for each stage."""

import pytest

from service.workflow.step import Step, make_unit
from service.workflow.warnings import RunWarnings, kept_remarks
from storage.artifacts import ArtifactStore


def unit(name: str, stage: str = "reconstruct") -> Step:
    return make_unit(stage, f"-{name}", {"of": name}, {}, cost=1.0)


def test_a_text_is_new_once_whichever_unit_says_it():
    remarks = RunWarnings()
    assert remarks.hear(unit("round1"), []) == []
    assert remarks.hear(unit("round2"), ["stopped"]) == ["stopped"]
    assert remarks.hear(unit("round3"), ["stopped", "far"]) == ["far"]
    assert remarks.heard == {"reconstruct-round1", "reconstruct-round2", "reconstruct-round3"}


def test_what_an_earlier_service_told_is_not_told_again_but_counts_for_the_stage():
    remarks = RunWarnings({"stopped"})
    assert remarks.hear(unit("round1"), ["stopped"]) == []
    assert remarks.summary("reconstruct") == "stopped"


@pytest.mark.parametrize(
    ("texts", "line"), [([], None), (["a"], "a"), (["a", "b", "c"], "a (and 2 more among the run's events)")]
)
def test_what_a_stage_has_to_say_is_its_note(texts, line):
    remarks = RunWarnings()
    for number, text in enumerate(texts):
        remarks.hear(unit(str(number)), [text])
    assert (remarks.summary("reconstruct"), remarks.summary("maps")) == (line, None)


def test_remarks_are_kept_with_the_unit_and_go_with_it(tmp_path):
    units, one = ArtifactStore(tmp_path), unit("round1")
    assert kept_remarks(units, one) == ()
    units.write(one.key, {}, {"notes": ["stopped"]})
    assert kept_remarks(units, one) == ["stopped"]
    units.delete(one.key)
    assert kept_remarks(units, one) == ()
