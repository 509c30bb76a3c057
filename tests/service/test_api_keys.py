"""API keys: their file, their scopes, and changes by several processes."""

import hmac
import stat
import subprocess
import sys
import time
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest

from service.api_keys import ApiKeys, Key, Scope, change_keys, digest_of_key, make_key, read_keys, write_keys

DIGEST = "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only words\n",
        "not-a-digest read p never name\n",
        f"{DIGEST} name\n",
        f"{DIGEST} all p never name\n",
        f"{DIGEST} read ../p never name\n",
        f"{DIGEST} read p 2024-13-01 name\n",
    ],
)
def test_a_file_that_is_no_list_of_keys_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ValueError, match="keys"):
        read_keys(tmp_path / "keys")


def test_keys_are_long_and_differ() -> None:
    (one, digest), (other, _) = make_key(), make_key()
    assert one != other
    assert len(one) > 40
    assert digest == digest_of_key(one)


def test_what_is_written_is_read_and_is_its_owners_alone(tmp_path: Path) -> None:
    keys = [Key(DIGEST, "beam line 3", "p", "read", date(2030, 1, 31)), Key("1" * 64, "b", scope="admin")]
    write_keys(tmp_path / "keys", keys)
    assert read_keys(tmp_path / "keys") == keys
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600


def test_a_scope_includes_those_before_it() -> None:
    scopes: tuple[Scope, ...] = ("read", "write", "admin")
    allowed = {scope: [wanted for wanted in scopes if Key(DIGEST, "k", scope=scope).may(wanted)] for scope in scopes}
    assert allowed == {"read": ["read"], "write": ["read", "write"], "admin": ["read", "write", "admin"]}


def test_a_key_opens_through_its_last_day() -> None:
    key = Key(DIGEST, "k", last_day=date(2030, 1, 31))
    assert key.is_valid(date(2030, 1, 31))
    assert not key.is_valid(date(2030, 1, 31) + timedelta(days=1))


def test_a_changed_file_is_read_again_and_no_key_is_valid_while_it_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    (one, first), (two, second) = make_key(), make_key()
    write_keys(path, [Key(first, "one"), Key(second, "two", last_day=date(2020, 1, 1))])
    keys = ApiKeys(path)
    assert keys.find(one) == Key(first, "one")
    assert [keys.find(secret) for secret in (two, "", digest_of_key(one), first)] == [None] * 4
    write_keys(path, [Key(second, "two")])
    assert keys.find(one) is None
    assert keys.find(two) == Key(second, "two")
    path.unlink()
    assert keys.find(two) is None


def test_every_key_is_compared_in_constant_time_whichever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [make_key() for _ in range(3)]
    write_keys(tmp_path / "keys", [Key(digest, "name", "p", "read", None) for _, digest in pairs])
    keys, compared = ApiKeys(tmp_path / "keys"), list[str]()
    compare = hmac.compare_digest

    def compare_noting(a: str, b: str) -> bool:
        compared.append(b)
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare_noting)
    for secret in (*(secret for secret, _ in pairs), "unknown"):
        compared.clear()
        keys.find(secret)
        assert compared == [digest for _, digest in pairs]


def test_a_key_that_was_found_is_valid_until_it_is_revoked_changed_or_expired(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    secret, digest = make_key()
    write_keys(path, [Key(digest, "mine", scope="write"), Key(DIGEST, "other")])
    keys = ApiKeys(path)
    key = keys.find(secret)
    assert key is not None
    assert keys.is_valid(key)
    change_keys(path, lambda kept: [Key(digest, "mine", scope="read"), *kept[1:]])
    assert not keys.is_valid(key)
    assert not keys.is_valid(Key(DIGEST, "other", last_day=date(2020, 1, 1)))
    change_keys(path, lambda kept: [kept[1]])
    assert not keys.is_valid(key)
    path.unlink()
    assert not keys.is_valid(Key(DIGEST, "other"))


ADD_KEYS = """
import os, sys
from pathlib import Path
from service.api_keys import Key, change_keys, make_key
for number in range(8):
    key = Key(make_key()[1], f"{os.getpid()}-{number}")
    change_keys(Path(sys.argv[1]), lambda keys: [*keys, key])
"""


def test_changes_by_several_processes_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    leavers = [f"leaver {n}" for n in range(6)]
    write_keys(path, [Key(str(n) * 64, name) for n, name in enumerate(leavers)])
    adders = [subprocess.Popen([sys.executable, "-c", ADD_KEYS, path]) for _ in range(4)]
    while leavers:
        leaver = leavers.pop()
        change_keys(path, partial(without, leaver))
        time.sleep(0.1)
    assert [adder.wait(timeout=60) for adder in adders] == [0] * 4
    names = [key.name for key in read_keys(path)]
    assert len(set(names)) == 32
    assert not any(name.startswith("leaver") for name in names)


def without(name: str, keys: list[Key]) -> list[Key]:
    """The keys that are not called ``name``."""
    return [key for key in keys if key.name != name]


def test_a_change_that_is_refused_changes_nothing_and_frees_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    write_keys(path, [Key(DIGEST, "one")])

    def refuse(keys: list[Key]) -> list[Key]:
        raise ValueError("no such key")

    with pytest.raises(ValueError, match="no such key"):
        change_keys(path, refuse)
    change_keys(path, lambda keys: [*keys, Key("1" * 64, "two")])
    assert [key.name for key in read_keys(path)] == ["one", "two"]
    assert stat.S_IMODE((tmp_path / "keys.lock").stat().st_mode) == 0o600
