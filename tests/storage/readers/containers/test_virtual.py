"""Virtual datasets read as HDF5 reads them where every source is there, and refused by name where one is not."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from storage.errors import HostileFileError, InvalidScanError
from storage.readers.containers.hdf5 import find_node, open_hdf5
from storage.readers.containers.virtual import VirtualArray

P, NY, NX = 4, 3, 5
PART = "entry/data/data"
Layouts = dict[str, h5py.VirtualLayout]


def frames(number: int) -> np.ndarray:
    return 100 * number + np.arange(P * NY * NX).reshape(P, NY, NX)


def source(number: int, name: str = "s{}.h5", shape: tuple[int, ...] = (P, NY, NX)) -> h5py.VirtualSource:
    return h5py.VirtualSource(name.format(number), PART, shape, dtype="i8")


def layouts() -> Layouts:
    """Blocks, frames in turn, frames in turn two by two, single frames of a corner, and quadrants of a larger detector."""
    found = {name: h5py.VirtualLayout((3 * P, NY, NX), "i8") for name in ("blocks", "in_turn", "in_pairs")}
    for number in range(3):
        found["blocks"][number * P : (number + 1) * P] = source(number)
        found["in_turn"][number::3] = source(number)
        for pair in range(2):
            start = 6 * pair + 2 * number
            found["in_pairs"][start : start + 2] = source(number)[2 * pair : 2 * pair + 2]
    found["corners"] = h5py.VirtualLayout((3, 2, 2), "i8")
    found["module"] = h5py.VirtualLayout((P, 2 * NY, NX), "i8")
    for number in range(3):
        found["corners"][number] = source(number)[1, 1:3, ::3]
    for number in range(2):
        found["module"][:, number * NY : (number + 1) * NY] = source(number)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files of frames and a master with every layout."""
    for number in range(3):
        with h5py.File(tmp_path / f"s{number}.h5", "w") as file:
            file[PART] = frames(number)
    write(tmp_path / "master.h5", layouts())
    return tmp_path


def write(path: Path, found: Layouts) -> Path:
    with h5py.File(path, "w", libver="latest") as file:
        for name, layout in found.items():
            file.create_virtual_dataset(name, layout, fillvalue=7)
    return path


@contextmanager
def opened(folder: Path, name: str, file: str = "master.h5") -> Iterator[VirtualArray]:
    """The array of a file, with the HDF5 files beside it."""
    with ExitStack() as stack:
        files = {path.name: stack.enter_context(open_hdf5(path, external=True)) for path in sorted(folder.glob("*.h5"))}
        node = find_node(files[file], name, files)
        assert isinstance(node, VirtualArray)
        yield node


KEYS: list[Any] = [
    (), slice(None), slice(1, 7), slice(2, 2), 2, (slice(0, 3), 1), (slice(None), slice(1, None), 1), (..., 1),
    slice(None, None, 2),
]  # fmt: skip


@pytest.mark.parametrize("name", layouts())
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_every_part_is_what_hdf5_reads(folder: Path, name: str, key: Any) -> None:
    with h5py.File(folder / "master.h5") as file:
        expected = file[name][key]
    with opened(folder, name) as node:
        np.testing.assert_array_equal(node[key], expected)
        assert np.asarray(node[key]).shape == expected.shape
        assert not node.unwritten_frames().any()


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_virtual_datasets_of_virtual_datasets_and_of_links_are_read(folder: Path, key: Any) -> None:
    with h5py.File(folder / "middle.h5", "w") as file:
        file["linked"] = h5py.ExternalLink("s2.h5", PART)
        file["own"] = frames(5)
        own = h5py.VirtualLayout((P, NY, NX), "i8")
        own[:] = h5py.VirtualSource(".", "own", (P, NY, NX))
        file.create_virtual_dataset("virtual", own)
    outer = h5py.VirtualLayout((2 * P, NY, NX), "i8")
    outer[:P] = h5py.VirtualSource("middle.h5", "virtual", (P, NY, NX))
    outer[P:] = h5py.VirtualSource("middle.h5", "linked", (P, NY, NX))
    write(folder / "outer.h5", {"all": outer})
    with opened(folder, "all", "outer.h5") as node:
        np.testing.assert_array_equal(node[key], np.concatenate([frames(5), frames(2)])[key])


def test_a_missing_source_is_named_where_hdf5_gives_fill_values(folder: Path) -> None:
    (folder / "s1.h5").unlink()
    with h5py.File(folder / "master.h5") as file:
        assert (file["blocks"][P : 2 * P] == 7).all()
    with opened(folder, "blocks") as node:
        assert (node.shape, node.dtype) == ((3 * P, NY, NX), np.dtype("i8"))
        for read in (lambda: node[0:1], node.unwritten_frames):
            with pytest.raises(InvalidScanError, match=r"s1.h5:entry/data/data.* is not beside it; send all its"):
                np.asarray(read())


def test_a_source_that_lacks_the_array_or_links_out_is_named(folder: Path) -> None:
    outside = folder / "outside"
    outside.mkdir()
    (folder / "s1.h5").rename(outside / "s1.h5")
    for target, told in ((None, "s1.h5"), (h5py.ExternalLink(str(outside / "s1.h5"), PART), "outside/s1.h5")):
        with h5py.File(folder / "s1.h5", "w") as file:
            if target is not None:
                file[PART] = target
        with opened(folder, "blocks") as node, pytest.raises(InvalidScanError, match=told):
            node[()]


def test_frames_without_a_source_or_never_written_there_count_as_never_written(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s0.h5", "w") as file:
        part = file.create_dataset(PART, (P, NY, NX), "i8", chunks=(1, NY, NX))
        part[:2], part[3] = frames(0)[:2], frames(0)[3]
    layout = h5py.VirtualLayout((3 * P, NY, NX), "i8")
    layout[1 : 1 + P] = source(0)
    layout[2 * P : 3 * P, 1:] = source(0)[:, 1:]
    write(tmp_path / "master.h5", {"frames": layout})
    with opened(tmp_path, "frames") as node:
        found = node.unwritten_frames()
        assert np.flatnonzero(~found).tolist() == [1, 2, 4]
        np.testing.assert_array_equal(node[1:3], frames(0)[:2])


def shorter() -> np.ndarray:
    return frames(1)[:-1]


def wider() -> np.ndarray:
    return frames(1).astype(np.float64)


def flat() -> np.ndarray:
    return frames(1).ravel()


@pytest.mark.parametrize(
    ("changed", "told"), [(shorter, "less than is taken"), (wider, "does not fit into int64"), (flat, "another shape|less than")]
)
def test_a_source_that_is_not_what_the_mapping_says_is_an_error(
    folder: Path, changed: Callable[[], np.ndarray], told: str
) -> None:
    with h5py.File(folder / "s1.h5", "w") as file:
        file[PART] = changed()
    part = h5py.VirtualLayout((P, NY, NX), "i8")
    part[:] = source(1)[:, :, :]
    part[0:4] = source(1)[0:4, 0:3, 0:5]
    write(folder / "master.h5", {"frames": part})
    with opened(folder, "frames") as node, pytest.raises(InvalidScanError, match=f"s1.h5:.*({told})"):
        node[()]


def test_one_that_leads_to_itself_ends(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout((P, NY, NX), "i8")
    layout[:] = h5py.VirtualSource("master.h5", "frames", (P, NY, NX))
    write(tmp_path / "master.h5", {"frames": layout})
    with opened(tmp_path, "frames") as node, pytest.raises((InvalidScanError, RecursionError)):
        node[()]


def test_a_file_by_itself_may_have_virtual_datasets_of_its_own_arrays_only(folder: Path) -> None:
    own = h5py.VirtualLayout((P, NY, NX), "i8")
    own[:] = h5py.VirtualSource(".", "frames", (P, NY, NX))
    with h5py.File(write(folder / "own.h5", {"virtual": own}), "r+") as file:
        file["frames"] = frames(3)
    with open_hdf5(folder / "own.h5") as file:
        node = find_node(file, "virtual")
        assert node is not None
        np.testing.assert_array_equal(node[()], frames(3))
    with (
        pytest.raises(HostileFileError, match=r"virtual dataset whose values are in 's0.h5', 's1.h5'"),
        open_hdf5(folder / "master.h5"),
    ):
        pass


def test_parts_without_a_fixed_size_are_refused(folder: Path) -> None:
    growing = h5py.VirtualLayout((P, NY, NX), "i8", maxshape=(None, NY, NX))
    part = h5py.VirtualSource("s0.h5", PART, (P, NY, NX), maxshape=(None, NY, NX))
    growing[: h5py.h5s.UNLIMITED] = part[: h5py.h5s.UNLIMITED]
    write(folder / "growing.h5", {"frames": growing})
    with pytest.raises(HostileFileError, match="not boxes of fixed size"), open_hdf5(folder / "growing.h5", external=True):
        pass
