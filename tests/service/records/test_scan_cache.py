"""Scans are kept in memory, as many as there is room for, and used only while their stores are what they were."""

from service.records.scan_cache import ScanCache, in_step
from storage.datasets.scans import ScanInfo


def scan(name: str, energy_ev: float) -> ScanInfo:
    return ScanInfo(name, name, energy_ev, 0.5, 75e-6, 16, 32, 1000, "ab", 1, "cd", ((0.0, 0.0), (1.0, 1.0)), (), None)


def test_scans_are_in_step_only_with_the_very_stamps_they_were_read_with() -> None:
    scans = {"b": ("2", scan("b", 5500.0)), "a": ("1", scan("a", 5420.0)), "c": ("3", scan("c", 5400.0))}
    found = in_step(scans, {"a": "1", "b": "2", "c": "3"})
    assert found is not None
    assert [one.name for one in found] == ["c", "a", "b"]
    assert in_step(scans, {"a": "1", "b": "2", "c": "4"}) is None
    assert in_step(scans, {"a": "1", "b": "2"}) is None
    assert in_step({}, {"a": "1"}) is None
    assert in_step({}, {}) == ()


def test_the_datasets_that_were_not_asked_for_longest_are_dropped() -> None:
    cache = ScanCache(max_scans=3)
    for name in ("first", "second"):
        cache.put(name, {"e": ("1", scan("e", 5420.0))})
    cache.get("first")
    cache.put("third", {name: ("1", scan(name, 5420.0)) for name in ("a", "b")})
    assert cache.get("second") == {}
    assert cache.get("first")
    assert cache.get("third").keys() == {"a", "b"}
    cache.put("large", {str(number): ("1", scan(str(number), 5420.0)) for number in range(9)})
    assert len(cache.get("large")) == 9, "one dataset is kept, however large"
    assert cache.get("first") == cache.get("third") == {}


def test_scans_are_added_to_a_dataset_that_is_kept_and_to_no_other() -> None:
    cache = ScanCache(max_scans=3)
    cache.add("other", {"a": ("1", scan("a", 5420.0))})
    assert cache.get("other") == {}, "its other scans are not known"
    cache.put("mine", {name: ("1", scan(name, 5420.0)) for name in ("a", "b")})
    cache.add("mine", {"b": ("2", scan("b", 5430.0)), "c": ("1", scan("c", 5440.0))})
    found = in_step(cache.get("mine"), {"a": "1", "b": "2", "c": "1"})
    assert found is not None
    assert [one.energy_ev for one in found] == [5420.0, 5430.0, 5440.0]
    cache.put("third", {"a": ("1", scan("a", 5420.0))})
    assert cache.get("mine") == {}, "added scans count"
