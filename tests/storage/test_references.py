"""Texts of references, by project and name."""

import pytest

from storage.atomic import write_file
from storage.errors import InvalidNameError, ReferenceDamagedError
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


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "head lost", "no text"])
def test_a_text_that_changed_is_never_read(place: Location, damage: str) -> None:
    store = ReferenceStore(place / "references")
    store.keep("p1", {"a": "#XDI/1.0\n5465.0 0.125\n"})
    path = place / "references" / "p1" / "a.xdi"
    content = path.read_bytes()
    spoilt = {
        "flipped": content.replace(b"0.125", b"0.165"), "cut": content[:-5], "empty": b"", "head lost": content[10:],
        "no text": content.replace(b"0.125", b"\xff\xfe"),
    }  # fmt: skip
    write_file(path, spoilt[damage])
    with pytest.raises(ReferenceDamagedError, match="PUT it again"):
        store.read("p1", "a")
    store.keep("p1", {"a": "#XDI/1.0\n"})
    assert store.read("p1", "a") == "#XDI/1.0\n"


def test_a_text_put_there_by_hand_is_read_unless_it_is_none(place: Location) -> None:
    store = ReferenceStore(place / "references")
    store.keep("p1", {"a": "x"})
    write_file(place / "references" / "p1" / "b.xdi", b"#XDI/1.0\n")
    assert store.read("p1", "b") == "#XDI/1.0\n"
    write_file(place / "references" / "p1" / "b.xdi", b"#XDI/1.0 \xff")
    with pytest.raises(ReferenceDamagedError):
        store.read("p1", "b")
