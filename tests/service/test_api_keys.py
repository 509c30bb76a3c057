"""API keys, as they are made, kept, listed and revoked."""

import hmac
import stat
from datetime import date, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from service.api_keys import ApiKeys, Key, digest_of, make_key, read_keys, write_keys

DIGEST = "0" * 64


def run(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in ("keys", *arguments)], env={"COLUMNS": "200", "TERM": "dumb"})
    return done.exit_code, done.output


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
    assert digest == digest_of(one)


def test_what_is_written_is_read_and_is_its_owners_alone(tmp_path: Path) -> None:
    keys = [Key(DIGEST, "beam line 3", "p", "read", date(2030, 1, 31)), Key("1" * 64, "b", scope="admin")]
    write_keys(tmp_path / "keys", keys)
    assert read_keys(tmp_path / "keys") == keys
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600


def test_a_scope_includes_those_before_it() -> None:
    allowed = {scope: [wanted for wanted in ("read", "write", "admin") if Key(DIGEST, "k", scope=scope).may(wanted)]
               for scope in ("read", "write", "admin")}  # fmt: skip
    assert allowed == {"read": ["read"], "write": ["read", "write"], "admin": ["read", "write", "admin"]}


def test_a_key_opens_through_its_last_day() -> None:
    key = Key(DIGEST, "k", last_day=date(2030, 1, 31))
    assert key.is_valid(date(2030, 1, 31))
    assert not key.is_valid(date(2030, 1, 31) + timedelta(days=1))


def test_a_ring_takes_note_of_changes_and_opens_nothing_when_it_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    (one, first), (two, second) = make_key(), make_key()
    write_keys(path, [Key(first, "one"), Key(second, "two", last_day=date(2020, 1, 1))])
    ring = ApiKeys(path)
    assert ring.find(one) == Key(first, "one")
    assert [ring.find(secret) for secret in (two, "", digest_of(one), first)] == [None] * 4
    write_keys(path, [Key(second, "two")])
    assert ring.find(one) is None
    assert ring.find(two) == Key(second, "two")
    path.unlink()
    assert ring.find(two) is None


def test_keys_are_added_listed_and_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    code, shown = run("add", "beam  line", "--project", "xanes", "--scope", "read", "--days", 30, "--file", path)
    assert code == 0
    secret = shown.strip()
    [key] = read_keys(path)
    assert (key.digest, key.name, key.project, key.scope) == (digest_of(secret), "beam line", "xanes", "read")
    assert secret not in path.read_text()
    assert run("add", "other", "--file", path)[0] == 0
    listed = run("list", "--file", path)[1]
    assert key.id in listed
    assert "xanes" in listed
    assert secret not in listed
    assert run("revoke", key.id, "--file", path)[0] == 0
    assert [one.name for one in read_keys(path)] == ["other"]
    assert run("revoke", key.id, "--file", path)[0] == 1
    assert run("add", "x", "--project", "a b", "--file", path)[0] == 1


def test_every_key_is_compared_in_constant_time_whichever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [make_key() for _ in range(3)]
    write_keys(tmp_path / "keys", [Key(digest, "name", "p", "read", None) for _, digest in pairs])
    ring, compared = ApiKeys(tmp_path / "keys"), []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(b) or compare(a, b))
    for secret in (*(secret for secret, _ in pairs), "unknown"):
        compared.clear()
        ring.find(secret)
        assert compared == [digest for _, digest in pairs]
