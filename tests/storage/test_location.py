"""Objects of a bucket behave like the files of a folder, as far as the stores use them."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr

from storage.errors import ObjectStoreError
from storage.location import Location, ObjectPath, bucket_of, folders_below, zarr_store


def test_what_is_written_is_read_listed_and_removed(object_folder: ObjectPath) -> None:
    first, second = object_folder / "a" / "b.txt", object_folder / "a" / "c" / "d"
    first.put(b"0123456789")
    second.put(b"")
    assert first.read_text() == "0123456789"
    assert first.is_file()
    assert not first.is_dir()
    assert (object_folder / "a").is_dir()
    assert not (object_folder / "a").is_file()
    assert not (object_folder / "a" / "b").exists()
    assert sorted(path.name for path in (object_folder / "a").iterdir()) == ["b.txt", "c"]
    assert sorted(object_folder.rglob("*")) == [first, second]
    assert object_folder.glob("*/*.txt") == [first]
    assert object_folder.glob("a/c") == [object_folder / "a" / "c"]
    assert folders_below(object_folder) == [object_folder / "a"]
    first.unlink()
    with pytest.raises(FileNotFoundError):
        first.unlink()
    first.unlink(missing_ok=True)
    assert list(object_folder.rglob("*")) == [second]


def test_sizes_and_times_are_those_of_an_object_or_of_all_below(object_folder: ObjectPath) -> None:
    (object_folder / "a").put(b"123")
    (object_folder / "b").put(b"45")
    status = (object_folder / "a").stat()
    assert status.st_size == 3
    assert status.st_mtime_ns == pytest.approx(status.st_mtime * 1e9)
    assert object_folder.stat().st_size == 5
    assert object_folder.stat().st_mtime >= status.st_mtime
    with pytest.raises(FileNotFoundError, match="is not there"):
        (object_folder / "c").stat()


def test_an_object_is_read_in_parts(object_folder: ObjectPath) -> None:
    (object_folder / "a").put(bytes(range(100)))
    with (object_folder / "a").open() as file:
        assert file.seek(90) == 90
        part = bytearray(20)
        assert file.readinto(part) == 10
        assert part[:10] == bytes(range(90, 100))
        assert file.seek(0, 2) == 100
        assert file.read(1) == b""
        assert file.seek(1) == 1
        assert file.read(2) == b"\1\2"
    with pytest.raises(FileNotFoundError):
        (object_folder / "b").open()


def test_what_must_be_new_replaces_nothing(object_folder: ObjectPath) -> None:
    path = object_folder / "a"
    path.put(b"1", must_be_new=True)
    with pytest.raises(FileExistsError, match="already there"):
        path.put(b"2", must_be_new=True)
    assert path.read_bytes() == b"1"


def test_it_goes_to_workers_with_their_own_credentials(object_folder: ObjectPath) -> None:
    (object_folder / "a").put(b"1")
    sent = pickle.dumps(object_folder / "a")
    assert b"only-here" not in sent
    assert pickle.loads(sent).read_bytes() == b"1"


def test_zarr_opens_either_kind_of_place(place: Location) -> None:
    group = zarr.create_group(zarr_store(place / "group"))
    group.create_array("a", data=np.arange(4))
    assert (place / "group" / "a" / "zarr.json").is_file()
    np.testing.assert_array_equal(zarr.open_array(zarr_store(place / "group" / "a"), mode="r")[...], np.arange(4))


def test_a_bucket_that_is_not_there_is_no_empty_one(object_folder: ObjectPath, tmp_path: Path) -> None:
    elsewhere = ObjectPath("no-such-bucket", "a", tmp_path)
    with pytest.raises(ObjectStoreError, match=r"s3://no-such-bucket/a: .*credentials"):
        elsewhere.is_dir()
    for ask in (elsewhere.mkdir, lambda: elsewhere.put(b"1"), lambda: elsewhere.read_bytes()):
        with pytest.raises(ObjectStoreError):
            ask()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://a.b-c/x/y", ("a.b-c", "x/y")),
        ("s3://bucket/x/", ("bucket", "x")),
    ],
)
def test_an_address_is_a_bucket_and_a_prefix(url: str, found: tuple[str, str]) -> None:
    assert bucket_of(url) == found


@pytest.mark.parametrize(
    "url", ["", "bucket", "s3:/bucket", "s3://", "s3:///x", "s3://Bucket", "gs://bucket", "https://bucket.s3/x"]
)
def test_any_other_address_is_refused_in_words(url: str) -> None:
    with pytest.raises(ValueError, match=r"s3://bucket/prefix, got"):
        bucket_of(url)
