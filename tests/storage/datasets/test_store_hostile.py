"""Files made to harm: each is refused with a reason of its own, and nothing of it is left."""

import io
import json
import shutil
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from places import on_disk

from storage.datasets.store import DatasetStore
from storage.errors import InvalidScanError

Builder = Callable[[Path, Any], None]
CORPUS: dict[str, tuple[Builder, str]] = {}


def hostile(reason: str) -> Callable[[Builder], Builder]:
    """Add a builder to the corpus, with the reason its file is refused for."""

    def add(builder: Builder) -> Builder:
        CORPUS[builder.__name__] = (builder, reason)
        return builder

    return add


def detector(path: Path, files: Any) -> h5py.Group:
    """The detector group of a CXI file without its data, to be closed by the caller."""
    files.cxi(path, counts=None)
    return h5py.File(path, "r+")["entry_1/instrument_1/detector_1"]


def secret(path: Path) -> Path:
    """A file the service may read and a client may not."""
    other = path.with_name("secret.h5")
    with h5py.File(other, "w") as file:
        file["data"] = np.ones((6, 16, 16), np.uint16)
    return other


@hostile("is none of")
def empty(path: Path, files: Any) -> None:
    path.write_bytes(b"")


@hostile("is none of")
def html_instead(path: Path, files: Any) -> None:
    path.write_text("<!doctype html><script>alert(1)</script>")


@hostile("is none of")
def pickle_instead(path: Path, files: Any) -> None:
    path.write_bytes(b"\x80\x04\x95\x1c\x00cposix\nsystem\n")


@hostile("is not a readable HDF5 file")
def signature_only(path: Path, files: Any) -> None:
    path.write_bytes(b"\x89HDF\r\n\x1a\n")


@hostile("is not a readable HDF5 file")
def truncated_hdf5(path: Path, files: Any) -> None:
    files.cxi(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@hostile("external link to '/etc/passwd' is refused")
def external_link(path: Path, files: Any) -> None:
    group = detector(path, files)
    group["data"] = h5py.ExternalLink("/etc/passwd", "/")
    group.file.close()


@hostile("external link to .*secret.h5' is refused")
def external_link_behind_a_soft_link(path: Path, files: Any) -> None:
    group = detector(path, files)
    group.file["elsewhere"] = h5py.ExternalLink(str(secret(path)), "/")
    group["data"] = h5py.SoftLink("/elsewhere/data")
    group.file.close()


@hostile("external link .* is refused")
def external_link_in_a_group_nobody_reads(path: Path, files: Any) -> None:
    with h5py.File(files.cxi(path), "r+") as file:
        file["a/b/c"] = h5py.ExternalLink("other.h5", "/x")


@hostile("virtual dataset whose values are in")
def virtual_dataset(path: Path, files: Any) -> None:
    group = detector(path, files)
    layout = h5py.VirtualLayout((6, 16, 16), np.uint16)
    layout[:] = h5py.VirtualSource(str(secret(path)), "data", (6, 16, 16))
    group.create_virtual_dataset("data", layout)
    group.file.close()


@hostile("external storage is refused")
def external_storage(path: Path, files: Any) -> None:
    group = detector(path, files)
    group.create_dataset("data", (6, 16, 16), np.uint8, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
    group.file.close()


@hostile("filter 4 is not one of those allowed|filter 40000 is not one of those allowed")
def unknown_filter(path: Path, files: Any) -> None:
    group = detector(path, files)
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((1, 16, 16))
    creation.set_filter(40000, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(group.id, b"data", h5py.h5t.NATIVE_UINT16, h5py.h5s.create_simple((6, 16, 16)), creation)
    group.file.close()


@hostile("expands from .* bytes to .* MiB")
def never_written_frames(path: Path, files: Any) -> None:
    group = detector(path, files)
    group.create_dataset("data", (100_000, 1000, 1000), np.uint16, chunks=(1, 1000, 1000))
    group.file.close()


@hostile("expands from .* bytes to .* MiB")
def deflate_bomb(path: Path, files: Any) -> None:
    group = detector(path, files)
    data = group.create_dataset("data", (700, 512, 512), np.uint32, chunks=(50, 512, 512), compression="gzip")
    for start in range(0, 50, 50):
        data[start : start + 50] = 0
    group.file.close()


@hostile("chunks of .* are over 256 MiB")
def one_huge_chunk(path: Path, files: Any) -> None:
    group = detector(path, files)
    group.create_dataset("data", (6, 8192, 8192), np.uint32, chunks=(6, 8192, 8192))
    group.file.close()


@hostile("is compressed more than once")
def chunk_deflated_twice(path: Path, files: Any) -> None:
    """12 kB that unpack to 12 MB that unpack to 3 GB, in a chunk that declares 18 KiB."""
    deflater = zlib.compressobj(9)
    inner = b"".join(deflater.compress(bytes(2**24)) for _ in range(16)) + deflater.flush()
    group = detector(path, files)
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((36, 16, 16))
    creation.set_deflate(9)
    creation.set_deflate(9)
    space = h5py.h5s.create_simple((36, 16, 16))
    data = h5py.h5d.create(group.id, b"data", h5py.h5t.NATIVE_UINT16, space, creation)
    data.write_direct_chunk((0, 0, 0), zlib.compress(inner, 9))
    group.file.close()


@hostile("it unpacks to more than it declares")
def chunk_larger_than_its_content(path: Path, files: Any) -> None:
    group = detector(path, files)
    data = group.create_dataset("data", (6, 16, 16), np.uint16, chunks=(6, 16, 16), compression="gzip")
    data.id.write_direct_chunk((0, 0, 0), zlib.compress(np.random.default_rng(0).bytes(200_000) + bytes(2**28), 9))
    group.file.close()


@hostile("groups over 32 deep")
def deep_groups(path: Path, files: Any) -> None:
    with h5py.File(files.cxi(path), "r+") as file:
        file["/".join("a" * 40)] = 1


@hostile("has over 5000 objects|groups over 32 deep")
def many_objects(path: Path, files: Any) -> None:
    with h5py.File(files.cxi(path), "r+", libver="latest") as file:
        group = file.create_group("many")
        for index in range(5_100):
            group.create_group(str(index))


@hostile("counts: missing")
def a_link_that_leads_to_itself(path: Path, files: Any) -> None:
    group = detector(path, files)
    group["data"] = h5py.SoftLink("/entry_1/instrument_1/detector_1/data")
    group["loop"] = group.file["/"]
    group.file.close()


@hostile(r"counts: must be \(positions, ny, nx\) numbers")
def counts_of_strings(path: Path, files: Any) -> None:
    group = detector(path, files)
    group["data"] = np.full((6, 16, 16), b"1")
    group.file.close()


@hostile(r"counts: must be \(positions, ny, nx\) numbers")
def counts_of_compounds(path: Path, files: Any) -> None:
    group = detector(path, files)
    group["data"] = np.zeros((6, 16, 16), [("a", "u2"), ("b", "u2")])
    group.file.close()


@hostile("counts: missing")
def a_group_where_data_should_be(path: Path, files: Any) -> None:
    group = detector(path, files)
    group.create_group("data")
    group.file.close()


@hostile("energy_ev: must be")
def an_energy_of_text(path: Path, files: Any) -> None:
    with h5py.File(files.cxi(path, energy_ev=None), "r+") as file:
        file["entry_1/instrument_1/source_1/energy"] = "5420 eV; rm -rf /"


@hostile("positions_m: is .* MiB, more than the 256 MiB allowed")
def positions_without_end(path: Path, files: Any) -> None:
    with h5py.File(files.cxi(path, positions_m=None), "r+") as file:
        # 300 MiB that compress by less than the ratio allowed
        data = file.create_dataset(
            "entry_1/data_1/translation", (20_000_000, 2), np.float64, chunks=(100_000, 2), compression="gzip"
        )
        data[:2_000_000] = np.arange(4_000_000).reshape(-1, 2) % 251


@hostile("counts: cannot be read to the end")
def corrupt_chunk(path: Path, files: Any) -> None:
    group = detector(path, files)
    data = group.create_dataset("data", (6, 16, 16), np.uint16, chunks=(6, 16, 16), compression="gzip", fletcher32=True)
    data[:] = np.arange(6 * 256).reshape(6, 16, 16)
    where = data.id.get_chunk_info(0)
    group.file.close()
    with path.open("r+b") as file:
        file.seek(where.byte_offset + 2)
        file.write(b"\xff" * (where.size - 4))


@hostile("leaves the archive's folder")
def zip_slip(path: Path, files: Any) -> None:
    files.zip(path, {"../../evil.npy": b"x"})


@hostile("leaves the archive's folder")
def zip_slip_absolute(path: Path, files: Any) -> None:
    files.zip(path, {"/etc/cron.d/evil": b"x"})


@hostile("is a link or a device, not a file")
def zip_symlink(path: Path, files: Any) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        member = zipfile.ZipInfo("counts.npy")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")


@hostile("expands from .* bytes to .* MiB")
def zip_bomb(path: Path, files: Any) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("counts.npy", "w") as member:
        for _ in range(70):
            member.write(bytes(2**20))


@hostile("has members that overlap|has two members of one name")
def zip_of_overlapping_members(path: Path, files: Any) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", bytes(5000))
        for name in "bcd":
            twin = zipfile.ZipInfo(f"{name}.npy")
            original = archive.getinfo("a.npy")
            twin.file_size, twin.compress_size, twin.CRC = original.file_size, original.compress_size, original.CRC
            twin.header_offset = original.header_offset
            archive.filelist.append(twin)


@hostile("has two members of one name")
def zip_of_two_members_of_one_name(path: Path, files: Any) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("counts.npy", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("counts.npy", b"2")


@hostile("is a damaged ZIP archive|is none of")
def zip_cut_short(path: Path, files: Any) -> None:
    whole = files.npz(path.with_name("whole.npz"))
    path.write_bytes(whole.read_bytes()[:-30])


@hostile("is compressed by method 14")
def zip_of_lzma(path: Path, files: Any) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("counts.npy", bytes(1000))


@hostile("is encrypted")
def zip_encrypted(path: Path, files: Any) -> None:
    files.zip(path, {"counts.npy": bytes(100)})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(content))


@hostile("is not a readable .npy array")
def npz_of_pickles(path: Path, files: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, counts=np.array([{"__reduce__": 1}], object))


def npy(header: str, content: bytes = b"") -> bytes:
    encoded = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(encoded)) + encoded + content


@hostile("does not match its")
def npz_that_lies_about_its_shape(path: Path, files: Any) -> None:
    header = "{'descr': '<u2', 'fortran_order': False, 'shape': (1000000, 1000, 1000)}"
    files.zip(path, {"counts.npy": npy(header, bytes(64))})


@hostile("is not a readable .npy array")
def npz_of_a_header_that_is_code(path: Path, files: Any) -> None:
    files.zip(path, {"counts.npy": npy("__import__('os').system('id')")})


@hostile("is not a readable .npy array")
def npz_of_a_negative_shape(path: Path, files: Any) -> None:
    files.zip(path, {"counts.npy": npy("{'descr': '<u2', 'fortran_order': False, 'shape': (-1, 16, 16)}")})


@hostile("data type .* is not one of those allowed")
def zarr_of_objects(path: Path, files: Any) -> None:
    files.zip(path, {"zarr.json": files.zarr_metadata(data_type="string")})


@hostile("expands from .* bytes to")
def zarr_of_nothing(path: Path, files: Any) -> None:
    group = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}).encode()
    files.zip(path, {"zarr.json": group, "counts/zarr.json": files.zarr_metadata(shape=[10**6, 10**3, 10**3])})


@hostile("is damaged Zarr metadata")
def zarr_of_nested_brackets(path: Path, files: Any) -> None:
    files.zip(path, {"zarr.json": b"[" * 100_000})


@hostile("more than 1048576")
def zarr_of_endless_metadata(path: Path, files: Any) -> None:
    files.zip(path, {"zarr.json": b" " * (2**20 + 1)})


@hostile("external link|is not beside the master")
def eiger_that_reaches_out(path: Path, files: Any) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink("../../secret.h5", "/data")
        file["positions_m"] = np.zeros((6, 2))
    secret(path)
    files.zip(path, {"x_master.h5": buffer.getvalue()})


@hostile("unpacks to .* MiB")
def archive_of_padded_hdf5(path: Path, files: Any) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["entry/data/data_000001"] = 1
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(3):
            archive.writestr(f"{index}.h5", buffer.getvalue() + bytes(30 * 2**20))


@pytest.mark.parametrize("name", sorted(CORPUS))
def test_a_hostile_file_is_refused_for_its_own_reason(store: DatasetStore, files: Any, tmp_path: Path, name: str) -> None:
    builder, reason = CORPUS[name]
    path = tmp_path / "upload"
    builder(path, files)
    before = sorted(str(file) for file in tmp_path.rglob("*"))
    with pytest.raises(InvalidScanError, match=reason) as raised:
        store.add_scan("ds_1", "a", path)
    assert raised.value.faults
    assert store.scans("ds_1") == []
    assert sorted(str(file) for file in tmp_path.rglob("*") if file.name != ".lock") == before


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 25


MEMORY = """
import sys
from pathlib import Path
from storage.datasets.store import DatasetStore
from storage.errors import InvalidScanError
store = DatasetStore(Path(sys.argv[1]))
refused = 0
for path in sys.argv[2:]:
    try:
        store.add_scan("ds_1", "a", Path(path))
    except InvalidScanError:
        refused += 1
# not ru_maxrss, which begins with what the process that started this one held
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(refused, int(peak.split()[1]) * 1024)
"""


def test_refusing_all_of_them_takes_little_memory(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    names = ["never_written_frames", "deflate_bomb", "one_huge_chunk", "zip_bomb", "positions_without_end", "zarr_of_nothing"]
    paths = []
    for name in names:
        paths.append(tmp_path / name)
        CORPUS[name][0](paths[-1], files)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(store.root), *map(str, paths)],
        capture_output=True, text=True, check=True, timeout=120, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    refused, peak = map(int, done.stdout.split())
    assert refused == len(names)
    assert peak < 600 * 2**20


FUZZ = """
import sys
from pathlib import Path
from storage.datasets.store import DatasetStore
from storage.errors import StorageError
store = DatasetStore(Path(sys.argv[1]))
for index, path in enumerate(sorted(Path(sys.argv[2]).iterdir())):
    store.create(f"fuzz_{index}", {})
    try:
        store.add_scan(f"fuzz_{index}", "a", path)
    except StorageError as error:
        print(type(error).__name__)
    else:
        print("accepted")
"""


def test_files_with_random_bytes_changed_end_in_no_other_error(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    store.add_scan("ds_1", "a", files.npz(tmp_path / "whole.npz"))
    whole = [
        files.cxi(tmp_path / "whole.cxi"),
        tmp_path / "whole.npz",
        Path(shutil.make_archive(str(tmp_path / "whole"), "zip", on_disk(store.root) / "ds_1")),
    ]
    folder = tmp_path / "changed"
    folder.mkdir()
    random = np.random.default_rng(7)
    for index in range(60):
        content = np.frombuffer(whole[index % 3].read_bytes(), np.uint8).copy()
        places = random.integers(0, min(len(content), 6000), random.integers(1, 8))
        content[places] ^= random.integers(1, 256, len(places)).astype(np.uint8)
        (folder / f"{index:02d}").write_bytes(content.tobytes())
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(store.root), str(folder)],
        capture_output=True, text=True, timeout=120, cwd=Path(__file__).resolve().parents[2], check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcomes = done.stdout.split()
    assert len(outcomes) == 60
    assert outcomes.count("accepted") < 45


def test_an_honest_upload_survives_beside_hostile_ones(store: DatasetStore, files: Any, tmp_path: Path) -> None:
    store.add_scan("ds_1", "good", files.npz(tmp_path / "good.npz"))
    counts = store.read_scan("ds_1", "good")["counts"]
    for name in ("external_link", "zip_slip", "truncated_hdf5"):
        CORPUS[name][0](tmp_path / name, files)
        with pytest.raises(InvalidScanError):
            store.add_scan("ds_1", name, tmp_path / name)
    np.testing.assert_array_equal(store.read_scan("ds_1", "good")["counts"], counts)
