"""Datasets through the service: streams in, scans whole or not at all, faults by field."""

import asyncio
import base64
import hashlib
import io

import numpy as np
import pytest

from service.datasets import Datasets, write_block
from service.errors import (
    ConflictError,
    DigestMismatchError,
    ForbiddenPathError,
    InvalidInputError,
    NotFoundError,
    QuotaError,
    StorageFullError,
    TooLargeError,
)
from service.settings import Settings
from service.uploads.content_digest import read_content_digest
from storage.datasets.store import DatasetStore

SPEC = {
    "title": "particle 1",
    "sample": {"name": "p1", "formula": "LiVO2", "group": "pristine"},
    "absorber": {"element": "V", "edge": "K"},
    "distance_m": 0.5,
}


def scan_bytes(energy_ev=5420.0, **changes) -> bytes:
    """A small NPZ of a sane 4 x 4 raster."""
    rng = np.random.default_rng(int(energy_ev))
    y, x = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    arrays = {
        "counts": rng.poisson(50, (16, 32, 32)).astype(np.uint16),
        "positions_m": np.stack([y.ravel(), x.ravel()], axis=1) * 100e-9,
        "energy_ev": np.array(energy_ev),
        "detector_pixel_size_m": np.array(75e-6),
        **changes,
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


class House:
    """Datasets over a folder, and what they told of."""

    def __init__(self, tmp_path, users=(), **changes):
        self.settings = Settings(data_dir=tmp_path / "data", **{"min_free_bytes": 0, **changes})
        self.settings.data_dir.mkdir()
        self.changes: list[bool] = []
        self.datasets = Datasets(
            self.settings,
            DatasetStore(self.settings.datasets_dir),
            on_change=lambda: self.changes.append(True),
            users_of=lambda _: list(users),
        )
        self.datasets.start()

    def put(self, dataset_id, name, body: bytes, digest=None, part=7000):
        async def stream():
            for first in range(0, len(body), part):
                yield body[first : first + part]

        return asyncio.run(self.datasets.put_scan(dataset_id, name, stream(), digest))

    def leftovers(self):
        return list(self.settings.uploads_dir.iterdir())


@pytest.fixture
def make_house(tmp_path):
    houses = []

    def make(**changes):
        houses.append(House(tmp_path, **changes))
        return houses[-1]

    yield make
    for house in houses:
        house.datasets.stop()


@pytest.fixture
def house(make_house):
    return make_house()


def test_a_scan_goes_in_once_and_is_told_of(house):
    view = house.datasets.create(SPEC)
    assert (view.state, view.scans) == ("open", ())
    body = scan_bytes()
    scan, created = house.put(view.id, "a", body)
    assert created
    assert (scan.name, scan.energy_ev, scan.n_positions, scan.n_pixels) == ("a", 5420.0, 16, 32)
    assert scan.sha256 == hashlib.sha256(body).hexdigest()
    again, created = house.put(view.id, "a", body)
    assert (again, created) == (scan, False)
    assert house.changes
    assert house.leftovers() == []


def test_other_bytes_under_a_name_are_refused_and_the_first_stay(house):
    view = house.datasets.create(SPEC)
    first, _ = house.put(view.id, "a", scan_bytes())
    with pytest.raises(ConflictError, match="already there"):
        house.put(view.id, "a", scan_bytes(5430.0))
    assert house.datasets.get(view.id).scans == (first,)


def test_every_fault_of_a_file_is_named_by_field_and_nothing_is_left(house):
    view = house.datasets.create(SPEC)
    bad = scan_bytes(counts=np.full((16, 32, 32), -1.0), positions_m=np.zeros((15, 2)))
    with pytest.raises(InvalidInputError) as caught:
        house.put(view.id, "a", bad)
    assert {"counts", "positions_m"} <= {fault.field for fault in caught.value.faults}
    assert house.datasets.get(view.id).scans == ()
    assert house.leftovers() == []


def test_a_project_stores_no_more_than_it_may_and_another_is_not_held_back(make_house):
    body = scan_bytes()
    house = make_house(max_project_bytes=len(body) + 100)
    view = house.datasets.create(SPEC)
    house.put(view.id, "a", body)
    with pytest.raises(QuotaError, match=rf"it may store {len(body) + 100} .* of which \d+ are taken"):
        house.put(view.id, "b", scan_bytes(5430.0), part=10**9)
    assert house.leftovers() == []
    house.datasets = house.datasets.within("other")
    other = house.datasets.create(SPEC)
    assert house.put(other.id, "b", scan_bytes(5430.0))[1]
    with pytest.raises(QuotaError):
        house.put(other.id, "c", scan_bytes(5440.0))


@pytest.mark.parametrize(("path", "error"), [("a\0b", InvalidInputError), ("/" + "x" * 300, ForbiddenPathError)])
def test_a_path_that_can_be_no_file_is_refused(house, path, error):
    with pytest.raises(error):
        house.datasets.register(path, SPEC)


def test_a_disk_that_fills_up_is_told_as_that():
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(StorageFullError, match="filled up"):  # noqa: PTH123
        write_block(full, hashlib.sha256(), b"block")


def test_positions_that_do_not_overlap_are_refused(house):
    view = house.datasets.create(SPEC)
    apart = np.stack([np.arange(16), np.arange(16)], axis=1) * 5e-6
    with pytest.raises(InvalidInputError, match="overlap"):
        house.put(view.id, "a", scan_bytes(positions_m=apart))


@pytest.mark.parametrize("body", [b"not a measurement", b"\x89HDF\r\n\x1a\n" + b"\0" * 64, b"PK\x03\x04" + b"x" * 99])
def test_a_file_that_is_none_is_refused_in_plain_words(house, body):
    view = house.datasets.create(SPEC)
    with pytest.raises(InvalidInputError) as caught:
        house.put(view.id, "a", body)
    assert caught.value.faults
    assert house.leftovers() == []


def test_announced_digests_are_checked(house):
    view = house.datasets.create(SPEC)
    body = scan_bytes()
    announced = base64.b64encode(hashlib.sha256(body).digest()).decode()
    with pytest.raises(DigestMismatchError):
        house.put(view.id, "a", body[:-1], f"sha-256=:{announced}:")
    assert house.put(view.id, "a", body, f"sha-256=:{announced}:")[1]
    with pytest.raises(InvalidInputError, match="Content-Digest"):
        read_content_digest("sha-256=nonsense")
    assert read_content_digest("md5=:abc=:") is None


def test_a_body_that_breaks_off_leaves_nothing(house):
    view = house.datasets.create(SPEC)

    async def broken():
        yield b"x" * 5000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(house.datasets.put_scan(view.id, "a", broken()))
    assert house.leftovers() == []
    assert house.datasets.get(view.id).scans == ()


def test_sizes_and_free_disk_are_watched(make_house, tmp_path):
    house = make_house(max_upload_bytes=10_000)
    view = house.datasets.create(SPEC)
    with pytest.raises(TooLargeError):
        house.put(view.id, "a", b"x" * 10_001)
    house.datasets._settings = house.settings.model_copy(update={"min_free_bytes": 1 << 60})
    with pytest.raises(StorageFullError):
        house.put(view.id, "a", b"x")


def test_a_file_that_needs_too_much_memory_is_refused_and_the_service_lives_on(make_house):
    house = make_house(ingest_memory_bytes=1 << 30)
    view = house.datasets.create(SPEC)
    assert house.put(view.id, "sane", scan_bytes())[1]
    file = io.BytesIO()
    np.savez_compressed(file, counts=np.zeros((9, 32, 32), np.uint16), positions_m=np.zeros((200_000_000, 2), np.int8))
    with pytest.raises(InvalidInputError) as caught:
        house.put(view.id, "a", file.getvalue())
    assert caught.value.faults
    assert [scan.name for scan in house.datasets.get(view.id).scans] == ["sane"]


def test_a_sealed_dataset_takes_no_more_and_an_empty_one_cannot_be_sealed(house):
    view = house.datasets.create(SPEC)
    with pytest.raises(ConflictError, match="no scans"):
        house.datasets.seal(view.id)
    house.put(view.id, "a", scan_bytes())
    assert house.datasets.seal(view.id).state == "sealed"
    assert house.datasets.seal(view.id).state == "sealed"
    with pytest.raises(ConflictError, match="sealed"):
        house.put(view.id, "b", scan_bytes(5430.0))


def test_what_is_not_there_is_not_found(house):
    for call in (house.datasets.get, house.datasets.seal, house.datasets.delete):
        with pytest.raises(NotFoundError):
            call("ds_0000000000000000")
    with pytest.raises(NotFoundError):
        house.datasets.get("../etc")


def test_a_dataset_in_use_is_not_deleted(make_house):
    house = make_house(users=["run_1"])
    view = house.datasets.create(SPEC)
    with pytest.raises(ConflictError, match="run_1"):
        house.datasets.delete(view.id)
    house.datasets._users_of = lambda _: []
    house.datasets.delete(view.id)
    assert house.datasets.list() == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"absorber": {"element": "Xx", "edge": "K"}}, "absorber"),
        ({"absorber": {"element": "V", "edge": "K9"}}, "absorber"),
        ({"sample": {"formula": "Li?"}}, "sample.formula"),
        ({"sample": {"formula": "LiFeO2"}}, "sample.formula"),
        ({"probe": {"kind": "laser"}}, "probe.kind"),
        ({"probe": {"width": 1}}, "probe.width"),
    ],
)
def test_a_description_without_meaning_is_refused_by_field(house, changes, field):
    with pytest.raises(InvalidInputError) as caught:
        house.datasets.create({**SPEC, **changes})
    assert field in [fault.field for fault in caught.value.faults]


def test_only_files_below_a_listed_root_are_registered(make_house, tmp_path):
    root, elsewhere = tmp_path / "facility", tmp_path / "elsewhere"
    for folder in (root, elsewhere):
        folder.mkdir()
        (folder / "e1.npz").write_bytes(scan_bytes(5420.0))
    (root / "link").symlink_to(elsewhere)
    house = make_house(register_roots=(root,))
    view = house.datasets.register(str(root / "e1.npz"), SPEC)
    assert (view.state, view.energies_ev) == ("sealed", [5420.0])
    for path in (elsewhere, root / "link", root / ".." / "elsewhere" / "e1.npz"):
        with pytest.raises(ForbiddenPathError):
            house.datasets.register(str(path), SPEC)
    assert len(house.datasets.list()) == 1
