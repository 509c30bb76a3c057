"""API keys, as they are made and kept."""

from pathlib import Path

import pytest

from service.keys import digest_of, make_key, read_digests


@pytest.mark.parametrize("text", ["", "# only words\n", "not-a-digest name\n", f"{'0' * 64}\n"])
def test_a_file_that_is_no_list_of_keys_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(ValueError, match="keys"):
        read_digests(tmp_path / "keys")


def test_keys_are_long_and_differ() -> None:
    (one, digest), (other, _) = make_key(), make_key()
    assert one != other
    assert len(one) > 40
    assert digest == digest_of(one)
