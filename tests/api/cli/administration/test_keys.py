"""keys add, keys list and keys revoke."""

from pathlib import Path

import pytest
from command_line import run

from api.cli.terminal import plain
from service.api_keys import digest_of_key, read_keys


def test_keys_are_added_listed_and_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    code, shown = run("keys", "add", "beam  line", "--project", "xanes", "--scope", "read", "--days", 30, "--file", path)
    assert code == 0
    secret = shown.strip()
    [key] = read_keys(path)
    assert (key.digest, key.name, key.project, key.scope) == (digest_of_key(secret), "beam line", "xanes", "read")
    assert secret not in path.read_text()
    assert run("keys", "add", "other", "--file", path)[0] == 0
    listed = run("keys", "list", "--file", path)[1]
    assert key.id in listed
    assert "xanes" in listed
    assert secret not in listed
    assert run("keys", "revoke", key.id, "--file", path)[0] == 0
    assert [one.name for one in read_keys(path)] == ["other"]
    assert run("keys", "revoke", key.id, "--file", path)[0] == 1
    assert run("keys", "add", "x", "--project", "a b", "--file", path)[0] == 1
    assert run("keys", "revoke", "other", "--file", path)[0] == 0
    assert run("keys", "list", "--file", path)[0] == 1
    assert run("keys", "add", "the first again", "--file", path)[0] == 0
    assert [one.name for one in read_keys(path)] == ["the first again"]


@pytest.mark.parametrize("name", ["[red]beam[/red] line", "[/]", "a\x1b[2Jb\u202e", "[link=http://x]y[/link]"])
def test_names_are_shown_as_they_are_and_reach_no_terminal(tmp_path: Path, name: str) -> None:
    path = tmp_path / "keys"
    assert run("keys", "add", name, "--file", path)[0] == 0
    for shown in (run("keys", "list", "--file", path)[1], run("keys", "revoke", name, "--file", path)[1]):
        assert plain(name) in shown
        assert not {"\x1b", "\u202e"} & set(shown)


@pytest.mark.parametrize("command", ["list", "revoke"])
def test_a_file_that_is_not_there_is_told_and_not_made(tmp_path: Path, command: str) -> None:
    path = tmp_path / "keys"
    code, shown = run("keys", command, *(["x"] if command == "revoke" else []), "--file", path)
    assert code == 1
    assert "No such file" in shown
    assert list(tmp_path.iterdir()) == []
