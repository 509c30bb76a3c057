"""Datasets through the service: streams in, scans whole or not at all, faults by field."""

import base64
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
from service.uploads.sandbox import ingest

ScanBytes = Callable[..., bytes]
DISC = 0.3 * np.stack([np.hypot(*np.indices((20, 20)) - 10.0) < 7] * 2) + np.random.default_rng(0).normal(0, 0.01, (2, 20, 20))


def test_a_scan_goes_in_once_and_is_told_of(bench: Any, scan_bytes: ScanBytes) -> None:
    view = bench.datasets.create(bench.spec)
    assert (view.state, view.scans) == ("open", ())
    body = scan_bytes()
    scan, created = bench.put(view.id, "a", body)
    assert created
    assert (scan.name, scan.energy_ev, scan.n_positions, scan.n_pixels) == ("a", 5420.0, 16, 32)
    assert scan.sha256 == hashlib.sha256(body).hexdigest()
    again, created = bench.put(view.id, "a", body)
    assert (again, created) == (scan, False)
    assert bench.datasets.get(view.id).scans == (scan,)
    assert bench.changes
    assert bench.uploads() == []


def test_other_bytes_under_a_name_are_refused_and_the_first_stay(bench: Any, scan_bytes: ScanBytes) -> None:
    view = bench.datasets.create(bench.spec)
    first, _ = bench.put(view.id, "a", scan_bytes())
    with pytest.raises(ConflictError, match="already there"):
        bench.put(view.id, "a", scan_bytes(5430.0))
    assert bench.datasets.get(view.id).scans == (first,)


def test_an_energy_measured_twice_is_refused(bench: Any, scan_bytes: ScanBytes) -> None:
    dataset_id = bench.fill(2)
    with pytest.raises(InvalidInputError, match="duplicate energy"):
        bench.put(dataset_id, "again", scan_bytes(5430.0))


def test_every_fault_of_a_file_is_named_by_field_and_nothing_is_left(bench: Any, scan_bytes: ScanBytes) -> None:
    view = bench.datasets.create(bench.spec)
    bad = scan_bytes(counts=np.full((16, 32, 32), -1.0), positions_m=np.zeros((15, 2)))
    with pytest.raises(InvalidInputError) as caught:
        bench.put(view.id, "a", bad)
    assert {"counts", "positions_m"} <= {fault.field for fault in caught.value.faults}
    assert bench.datasets.get(view.id).scans == ()
    assert bench.uploads() == []


def test_a_project_stores_no_more_than_it_may_and_another_is_not_held_back(
    make_bench: Callable[..., Any], scan_bytes: ScanBytes
) -> None:
    body = scan_bytes()
    bench = make_bench(max_project_bytes=len(body) + 100)
    view = bench.datasets.create(bench.spec)
    bench.put(view.id, "a", body)
    with pytest.raises(QuotaError, match=rf"it may store {len(body) + 100} .* of which \d+ are taken"):
        bench.put(view.id, "b", scan_bytes(5430.0), part=10**9)
    assert bench.uploads() == []
    bench.datasets = bench.datasets.within("other")
    other = bench.datasets.create(bench.spec)
    assert bench.put(other.id, "b", scan_bytes(5430.0))[1]
    with pytest.raises(QuotaError):
        bench.put(other.id, "c", scan_bytes(5440.0))


def test_registered_files_count_against_the_project(
    make_bench: Callable[..., Any], scan_bytes: ScanBytes, tmp_path: Path
) -> None:
    root = tmp_path / "facility"
    root.mkdir()
    (root / "e1.npz").write_bytes(scan_bytes())
    size = (root / "e1.npz").stat().st_size
    bench = make_bench(max_project_bytes=size + 100, register_roots=(root,))
    assert bench.datasets.register(str(root / "e1.npz"), bench.spec).state == "sealed"
    with pytest.raises(QuotaError, match="max_project_bytes"):
        bench.datasets.register(str(root), bench.spec)
    assert len(bench.datasets.page().items) == 1
    bench.datasets = bench.datasets.within("other")
    assert bench.datasets.register(str(root / "e1.npz"), bench.spec).state == "sealed"


def test_positions_that_do_not_overlap_are_refused(bench: Any, scan_bytes: ScanBytes) -> None:
    view = bench.datasets.create(bench.spec)
    apart = np.stack([np.arange(16), np.arange(16)], axis=1) * 5e-6
    with pytest.raises(InvalidInputError, match="overlap"):
        bench.put(view.id, "a", scan_bytes(positions_m=apart))


@pytest.mark.parametrize("body", [b"not a measurement", b"\x89HDF\r\n\x1a\n" + b"\0" * 64, b"PK\x03\x04" + b"x" * 99])
def test_a_file_that_is_none_is_refused_in_plain_words(bench: Any, body: bytes) -> None:
    view = bench.datasets.create(bench.spec)
    with pytest.raises(InvalidInputError) as caught:
        bench.put(view.id, "a", body)
    assert caught.value.faults
    assert bench.uploads() == []


def test_announced_digests_are_checked(bench: Any, scan_bytes: ScanBytes) -> None:
    view = bench.datasets.create(bench.spec)
    body = scan_bytes()
    announced = base64.b64encode(hashlib.sha256(body).digest()).decode()
    with pytest.raises(DigestMismatchError):
        bench.put(view.id, "a", body[:-1], f"sha-256=:{announced}:")
    assert bench.put(view.id, "a", body, f"sha-256=:{announced}:")[1]


def test_sizes_and_free_disk_are_watched(make_bench: Callable[..., Any], tmp_path: Path) -> None:
    bench = make_bench(max_upload_bytes=10_000)
    view = bench.datasets.create(bench.spec)
    with pytest.raises(TooLargeError):
        bench.put(view.id, "a", b"x" * 10_001)
    full = make_bench(min_free_bytes=1 << 60)
    with pytest.raises(StorageFullError):
        full.put(view.id, "a", b"x")


def test_a_file_that_needs_too_much_memory_is_refused_and_the_service_lives_on(
    make_bench: Callable[..., Any], scan_bytes: ScanBytes
) -> None:
    bench = make_bench(ingest_memory_bytes=1 << 30)
    view = bench.datasets.create(bench.spec)
    assert bench.put(view.id, "sane", scan_bytes())[1]
    file = io.BytesIO()
    np.savez_compressed(file, counts=np.zeros((9, 32, 32), np.uint16), positions_m=np.zeros((200_000_000, 2), np.int8))
    with pytest.raises(InvalidInputError) as caught:
        bench.put(view.id, "a", file.getvalue())
    assert caught.value.faults
    assert [scan.name for scan in bench.datasets.get(view.id).scans] == ["sane"]


def test_a_sealed_dataset_takes_no_more_and_an_empty_one_cannot_be_sealed(bench: Any, scan_bytes: ScanBytes) -> None:
    view = bench.datasets.create(bench.spec)
    with pytest.raises(ConflictError, match="no scans"):
        bench.datasets.seal(view.id)
    body = scan_bytes()
    bench.put(view.id, "a", body)
    assert bench.datasets.seal(view.id).state == "sealed"
    assert bench.datasets.seal(view.id).state == "sealed"
    with pytest.raises(ConflictError, match="sealed"):
        bench.put(view.id, "b", scan_bytes(5430.0))
    assert bench.put(view.id, "a", body)[1] is False


def test_what_is_not_there_is_not_found(bench: Any) -> None:
    for call in (bench.datasets.get, bench.datasets.seal, bench.datasets.delete):
        with pytest.raises(NotFoundError):
            call("ds_0000000000000000")
    with pytest.raises(NotFoundError):
        bench.datasets.get("../etc")


def test_a_dataset_in_use_is_not_deleted(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(users=["run_1"])
    view = bench.datasets.create(bench.spec)
    with pytest.raises(ConflictError, match="run_1"):
        bench.datasets.delete(view.id)
    bench.users.clear()
    bench.datasets.delete(view.id)
    assert bench.datasets.page().items == ()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"absorber": {"element": "Xx", "edge": "K"}}, "absorber"),
        ({"absorber": {"element": "V", "edge": "K9"}}, "absorber"),
        ({"absorber": {"element": "H", "edge": "K"}, "sample": {"formula": "H2O"}}, "absorber"),
        ({"absorber": {"element": "He", "edge": "K"}, "sample": {"formula": "He"}}, "absorber"),
        ({"absorber": {"element": "Fe", "edge": "M5"}, "sample": {"formula": "Fe"}}, "absorber"),
        ({"sample": {"formula": "Li?"}}, "sample.formula"),
        ({"sample": {"formula": "LiFeO2"}}, "sample.formula"),
        ({"probe": {"kind": "laser"}}, "probe.kind"),
        ({"probe": {"width": 1}}, "probe.width"),
    ],
)
def test_a_description_without_meaning_is_refused_by_field(bench: Any, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        bench.datasets.create({**bench.spec, **changes})
    assert field in [fault.field for fault in caught.value.faults]


def test_a_folder_is_registered_whole_or_not_at_all(
    make_bench: Callable[..., Any], scan_bytes: ScanBytes, tmp_path: Path
) -> None:
    root = tmp_path / "facility"
    root.mkdir()
    for number in range(2):
        (root / f"e {number}.npz").write_bytes(scan_bytes(5420.0 + number))
    bench = make_bench(register_roots=(root,))
    view = bench.datasets.register(str(root), bench.spec)
    assert (view.state, view.energies_ev) == ("sealed", [5420.0, 5421.0])
    (root / "notes.txt").write_text("not a scan")
    (root / "a-list.csv").write_text("1, 2")
    with pytest.raises(InvalidInputError, match=r"a-list.csv: is none of .*; notes.txt: is none of") as caught:
        bench.datasets.register(str(root), bench.spec)
    assert [fault.field for fault in caught.value.faults] == ["file", "file"]
    with pytest.raises(ForbiddenPathError):
        bench.datasets.register(str(tmp_path), bench.spec)
    assert [dataset.id for dataset in bench.datasets.page().items] == [view.id]
    assert bench.store.ids() == [view.id]


def test_a_registered_file_swapped_for_a_link_while_others_are_parsed_brings_nothing_in(
    make_bench: Callable[..., Any], scan_bytes: ScanBytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, secret = tmp_path / "facility", tmp_path / "secret.npz"
    root.mkdir()
    secret.write_bytes(scan_bytes(5430.0))
    for number in range(2):
        (root / f"e{number}.npz").write_bytes(scan_bytes(5420.0 + number))

    def swap(*arguments: Any) -> tuple[list[str], bool]:
        (root / "e1.npz").unlink()
        (root / "e1.npz").symlink_to(secret)
        return ingest(*arguments)

    monkeypatch.setattr("service.datasets.ingest", swap)
    bench = make_bench(register_roots=(root,))
    with pytest.raises(ForbiddenPathError):
        bench.datasets.register(str(root), bench.spec)
    assert bench.store.ids() == []
    with pytest.raises(ForbiddenPathError):
        bench.datasets.register(str(root), bench.spec)


def test_pages_are_newest_first_and_a_projects_own(bench: Any) -> None:
    made = [bench.datasets.create(bench.spec).id for _ in range(3)]
    first = bench.datasets.page(limit=2)
    assert [view.id for view in first.items] == made[:0:-1]
    rest = bench.datasets.page(limit=2, after=first.end)
    assert ([view.id for view in rest.items], rest.end) == (made[:1], None)
    assert bench.datasets.within("other").page().items == ()
    with pytest.raises(NotFoundError):
        bench.datasets.within("other").get(made[0])


def test_a_description_changes_and_the_measurement_stays(bench: Any, scan_bytes: ScanBytes) -> None:
    dataset_id = bench.datasets.create(bench.spec).id
    bench.put(dataset_id, "a", scan_bytes())
    before = bench.datasets.seal(dataset_id)
    changed = bench.datasets.change(dataset_id, {"title": "another", "sample": {"group": "charged"}, "labels": ["good"]})
    assert (changed.title, changed.labels, changed.state) == ("another", ("good",), "sealed")
    assert changed.sample == {**before.sample, "group": "charged"}
    assert changed.scans == before.scans
    assert bench.datasets.overview(dataset_id, "a").startswith(b"\x89PNG")
    with pytest.raises(NotFoundError):
        bench.datasets.overview(dataset_id, "b")
    with pytest.raises(NotFoundError):
        bench.datasets.within("other").change(dataset_id, {"title": "theirs"})


@pytest.mark.parametrize("arrays", [{"absorption": DISC}, {"object": np.exp(-DISC - 1j * DISC)}])
def test_a_dataset_of_images_shows_its_image(bench: Any, arrays: dict[str, Any]) -> None:
    described = {name: bench.spec[name] for name in ("title", "sample", "absorber")}
    dataset_id = bench.datasets.create({**described, "kind": "images"}).id
    file = io.BytesIO()
    np.savez(file, energy_ev=np.array([5420.0, 5500.0]), pixel_size_m=2e-8, **arrays)
    bench.put(dataset_id, "a", file.getvalue())
    assert bench.datasets.overview(dataset_id, "a.2", is_dark=True).startswith(b"\x89PNG")


@pytest.mark.parametrize("call", ["seal", "delete", "change", "put", "overview"])
def test_a_dataset_deleted_in_the_middle_of_a_request_is_not_found(
    bench: Any, scan_bytes: ScanBytes, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Another request may delete it after this one looked it up."""
    view = bench.datasets.create(bench.spec)
    bench.put(view.id, "a", scan_bytes())
    store = bench.datasets._repository.store
    looked_up = bench.datasets._record(view.id)

    def deleted_since(_: str) -> Any:
        if store.is_dataset(view.id):
            store.delete(view.id)
        return looked_up

    monkeypatch.setattr(bench.datasets, "_record", deleted_since)
    body = scan_bytes(5430.0)
    calls: dict[str, Callable[[], Any]] = {
        "put": lambda: bench.put(view.id, "b", body),
        "overview": lambda: bench.datasets.overview(view.id, "a"),
        "change": lambda: bench.datasets.change(view.id, {"title": "other"}),
        "seal": lambda: bench.datasets.seal(view.id),
        "delete": lambda: bench.datasets.delete(view.id),
    }
    with pytest.raises(NotFoundError, match="no dataset"):
        calls[call]()
    assert not (store.root / view.id).exists()
