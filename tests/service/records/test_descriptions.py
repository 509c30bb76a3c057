"""What a dataset must say of itself."""

from typing import Any

import pytest

from service.records.descriptions import StoredDescription, description_faults, kind_faults, with_defaults

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


def test_a_new_dataset_states_every_name_as_an_old_one_that_lacks_it_is_read() -> None:
    written = with_defaults({name: WHOLE[name] for name in ("title", "sample", "absorber")})
    assert list(written) == [
        *("kind", "distance_m", "detector_pixel_size_m", "probe", "orientation"), "title", "sample", "absorber",
    ]  # fmt: skip
    assert StoredDescription.model_validate(WHOLE | written) == StoredDescription.model_validate(WHOLE)


def test_images_have_no_detector() -> None:
    stated = {"kind": "images", "orientation": 0, "bad_frames": "refuse", "distance_m": 2.0, "n_pixels": 64}
    assert [fault.field for fault in kind_faults(stated)] == ["distance_m", "n_pixels"]
