import pytest

from storage.catalogue.catalogue import Catalogue, new_id


def test_it_says_whether_the_database_answers(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert catalogue.is_ready()

    def refuse() -> None:
        raise OSError("gone")

    monkeypatch.setattr(catalogue._database._reading, "connect", refuse)
    assert not catalogue.is_ready()


def test_names_are_unguessable() -> None:
    names = {new_id("run") for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) == 20 and name.startswith("run_") for name in names)
