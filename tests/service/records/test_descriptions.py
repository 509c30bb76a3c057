"""What a dataset must say of itself."""

from typing import Any

import pytest

from service.records.descriptions import StoredDescription, description_faults

WHOLE: dict[str, Any] = {
    "title": "p",
    "sample": {"formula": "LiVO2"},
    "absorber": {"element": "V", "edge": "K"},
    "provenance": {"created": "2024-05-01T12:00:00"},
    "sealed": False,
}


def test_what_the_first_release_wrote_is_enough_and_times_are_utc() -> None:
    assert description_faults(WHOLE) is None
    read = StoredDescription.model_validate({**WHOLE, "beam_centre_px": [1, 2], "n_pixels": 64})
    assert (read.project, read.orientation, read.labels) == ("default", 0, ())
    assert read.provenance.created.isoformat() == "2024-05-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"title": 3}, "title"),
        ({"sample": {}}, "sample.formula"),
        ({"provenance": {"created": "yesterday"}}, "provenance.created"),
        ({"sealed": None}, "sealed"),
        ({"distance_m": float("nan")}, "distance_m"),
    ],
)
def test_what_is_wrong_is_named(changed: dict[str, Any], field: str) -> None:
    assert (description_faults({**WHOLE, **changed}) or "").startswith(field)
