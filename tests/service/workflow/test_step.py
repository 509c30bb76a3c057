"""A unit's key says all that its result depends on."""

import pytest

from service.workflow.step import digest, make_unit


def test_a_digest_knows_no_order_of_names_and_refuses_what_is_no_number():
    assert digest({"a": 1, "b": [2.5]}) == digest({"b": [2.5], "a": 1}) != digest({"a": 1, "b": [2.25]})
    with pytest.raises(ValueError, match="JSON"):
        digest({"a": float("nan")})


def test_a_unit_needs_and_reads_what_its_arguments_name_in_whatever_shape():
    one, other = (make_unit("reconstruct", f"-{name}", {"n_cycles": 1, "of": name}, {}, cost=1.0) for name in "ab")
    unit = make_unit("figures", "", {"options": 1}, {"states": [[one], [other, None]], "domains": None}, cost=1.0)
    assert unit.arguments == {"options": 1, "states": [[one.key], [other.key, None]], "domains": None}
    assert (unit.needs, unit.inputs) == (("reconstruct-a", "reconstruct-b"), (one.key, other.key))
    assert unit.key != make_unit("figures", "", {"options": 1}, {"states": [[other], [one, None]]}, cost=1.0).key


def test_what_a_unit_is_called_and_costs_is_no_part_of_its_key():
    plain, other = (make_unit("maps", label, {"n": 1}, {}, cost=cost) for label, cost in (("", 1.0), ("-dataset2", 9.0)))
    assert plain.key == other.key
