"""Texts of references, by project and name."""

import pytest

from storage.errors import InvalidNameError
from storage.location import Location
from storage.references import ReferenceStore


def test_a_project_has_its_own_texts(place: Location) -> None:
    store = ReferenceStore(place / "references")
    assert store.names("p1") == []
    store.keep("p1", {"b": "text b", "a.1": "text a"})
    store.keep("p1", {"b": "newer"})
    assert (store.names("p1"), store.names("p2")) == (["a.1", "b"], [])
    assert (store.read("p1", "b"), store.read("p2", "b")) == ("newer", None)
    assert (store.remove("p1", "b"), store.remove("p1", "b")) == (True, False)
    assert store.names("p1") == ["a.1"]


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".a", "a\0"])
def test_names_stay_in_the_folder(place: Location, name: str) -> None:
    store = ReferenceStore(place / "references")
    for refused in (lambda: store.keep("p1", {name: "x"}), lambda: store.read("p1", name), lambda: store.names(name)):
        with pytest.raises(InvalidNameError):
            refused()
    assert not (place / "references").exists()
