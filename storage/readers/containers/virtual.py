"""HDF5's virtual datasets, put together from their sources here and never by HDF5.

HDF5 would open any file that a virtual dataset names, and read its fill value where that file is missing. So the mappings are
read from the dataset's creation properties, the sources are asked for by name, and one that is missing is an error.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from storage.errors import FieldError, InvalidScanError
from storage.readers.record import Node, unwritten_frames

Indices = NDArray[np.int64]

ITSELF: Final = "."
"""Name of the source file that is the virtual dataset's own."""
MAX_SOURCES: Final = 5_000
MISSING: Final = (
    "is a virtual dataset whose values are in {}, which is not beside it; send all its files in one ZIP, or register the folder "
    "that holds them"
)
MAX_EXTENT: Final = 10**7
"""Largest extent of an axis; the indices along one are held in memory."""


@dataclass(frozen=True)
class Mapping:
    """A part of a virtual dataset and where it comes from.

    Parameters
    ----------
    file, array : str
        Name of the source file, ``.`` for the dataset's own, and path of the array in it.
    target, source : h5py.h5s.SpaceID
        What is selected of the virtual dataset and of the source.
    """

    file: str
    array: str
    target: h5py.h5s.SpaceID
    source: h5py.h5s.SpaceID


def mappings_of(dataset: h5py.Dataset) -> list[Mapping]:
    """Mappings of a virtual dataset, in the order in which they were made."""
    properties = dataset.id.get_create_plist()
    return [
        Mapping(
            properties.get_virtual_filename(index),
            properties.get_virtual_dsetname(index),
            properties.get_virtual_vspace(index),
            properties.get_virtual_srcspace(index),
        )
        for index in range(properties.get_virtual_count())
    ]


def virtual_faults(dataset: h5py.Dataset, reaches_out: bool) -> Iterator[str]:
    """What is wrong with a virtual dataset, of which nothing is read.

    Parameters
    ----------
    dataset : h5py.Dataset
        Of virtual layout.
    reaches_out : bool
        Whether its sources may be other files.
    """
    if dataset.id.get_create_plist().get_virtual_count() > MAX_SOURCES:
        yield f"is a virtual dataset of over {MAX_SOURCES} parts"
        return
    found = mappings_of(dataset)
    others = sorted({one.file for one in found} - {ITSELF})
    if others and not reaches_out:
        yield f"is a virtual dataset whose values are in {_listed(others)}; store the data inside, or ZIP all files together"
    if not all(_is_regular(one.target) and (_is_whole(one.source) or _is_regular(one.source)) for one in found):
        yield "is a virtual dataset whose parts are not boxes of fixed size; store the data in the file"
    elif any(extent > MAX_EXTENT for one in found for extent in one.target.shape):
        yield f"is a virtual dataset with an axis longer than {MAX_EXTENT}"


class VirtualArray:
    """A virtual dataset as a `Node`, whose sources are asked for when something of it is first read.

    Parameters
    ----------
    dataset : h5py.Dataset
        Of virtual layout, without `virtual_faults`.
    open_source : callable
        ``open_source(file, array)``: the source, or None where it is not there.

    Raises
    ------
    InvalidScanError
        When it is read: a source is missing, or not what the mapping says. The message names it.
    """

    def __init__(self, dataset: h5py.Dataset, open_source: Callable[[str, str], Node | None]) -> None:
        self.shape: tuple[int, ...] = tuple(dataset.shape)
        self.dtype: np.dtype[Any] = dataset.dtype
        self.attrs: Any = dataset.attrs
        self.chunks = None
        self._name = str(dataset.name)
        self._mappings = mappings_of(dataset)
        self._open_source = open_source
        self._opened: list[_Part] | None = None

    def __getitem__(self, key: Any) -> Any:
        """Read a part by integers and slices; ``[()]`` reads all of it."""
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys[at : at + 1] = [slice(None)] * (len(self.shape) - len(keys) + 1)
        keys += [slice(None)] * (len(self.shape) - len(keys))
        wanted = [np.atleast_1d(np.arange(extent)[one]) for extent, one in zip(self.shape, keys, strict=True)]
        found = np.zeros([len(one) for one in wanted], self.dtype)
        for part in self._parts():
            part.fill(found, wanted)
        return found[tuple(slice(None) if isinstance(one, slice) else 0 for one in keys)]

    def unwritten_frames(self) -> NDArray[np.bool_]:
        """Return (P,) bool: entries of the first axis of which a part has no source, or one that was never written."""
        covered, unwritten = np.zeros(self.shape[0], np.int64), np.zeros(self.shape[0], bool)
        for part in self._parts():
            first, *others = part.target
            covered[first] += math.prod(len(one) for one in others)
            unwritten[part.unwritten()] = True
        return np.asarray(unwritten | (covered != math.prod(self.shape[1:])))

    def _parts(self) -> list["_Part"]:
        if self._opened is None:
            sources = [self._open_source(one.file, one.array) for one in self._mappings]
            found = list(zip(self._mappings, sources, strict=True))
            missing = sorted({_place(one) for one, source in found if source is None})
            if missing:
                raise InvalidScanError([FieldError(self._name, MISSING.format(_listed(missing)))])
            self._opened = [self._part(one, source) for one, source in found if source is not None]
        return self._opened

    def _part(self, mapping: Mapping, node: Node) -> "_Part":
        target = _indices(mapping.target)
        source = [np.arange(extent) for extent in node.shape] if _is_whole(mapping.source) else _indices(mapping.source)
        problem = None
        if len(source) != len(node.shape) or any(one[-1] >= extent for one, extent in zip(source, node.shape, strict=False)):
            problem = f"is {node.shape}, less than is taken of it"
        elif [len(one) for one in target if len(one) > 1] != [len(one) for one in source if len(one) > 1]:
            problem = f"has another shape than the part it is to fill, {[len(one) for one in target]}"
        elif not np.can_cast(node.dtype, self.dtype, "safe"):
            problem = f"is of {node.dtype}, which does not fit into {self.dtype}"
        if problem is not None:
            raise InvalidScanError([FieldError(self._name, f"is a virtual dataset whose source {_place(mapping)!r} {problem}")])
        return _Part(node, target, source)


@dataclass(frozen=True)
class _Part:
    """Indices along each axis of a virtual dataset, and those of the source's axes that go there, in the order of the axes."""

    node: Node
    target: Sequence[Indices]
    source: Sequence[Indices]

    def fill(self, found: NDArray[Any], wanted: Sequence[Indices]) -> None:
        """Put what the source has of the ``wanted`` indices of each axis of the virtual dataset into ``found``."""
        places, taken = [], []
        for own, asked in zip(self.target, wanted, strict=True):
            nearest = np.minimum(np.searchsorted(own, asked), len(own) - 1)
            places.append(np.flatnonzero(own[nearest] == asked))
            taken.append(nearest[places[-1]])
        if any(len(one) == 0 for one in places):
            return
        along = iter([one for one, own in zip(taken, self.target, strict=True) if len(own) > 1])
        indices = [own[next(along)] if len(own) > 1 else own for own in self.source]
        found[np.ix_(*places)] = _read(self.node, indices).reshape([len(one) for one in places])

    def unwritten(self) -> Indices:
        """Indices of the first axis of the virtual dataset that lack something which the source never got."""
        never = unwritten_frames(self.node)
        of_source = never[self.source[0]] if self.source else never
        is_axis = len(self.target[0]) > 1 and bool(self.source) and len(self.source[0]) == len(self.target[0])
        if is_axis:
            return self.target[0][of_source]
        return self.target[0] if of_source.any() else self.target[0][:0]


def _read(node: Node, indices: Sequence[Indices]) -> NDArray[Any]:
    """Read the outer product of indices along each axis, each as one slice, of which more is read only where it has gaps."""
    slices, left = [], []
    for one in indices:
        first, last = int(one.min()), int(one.max())
        step = int(one[1] - one[0]) if len(one) > 1 else 1
        is_even = step > 0 and bool(np.all(np.diff(one) == step))
        slices.append(slice(first, last + 1, step if is_even else 1))
        left.append(np.arange(len(one)) if is_even else one - first)
    values = np.asarray(node[tuple(slices)])
    is_all = all(np.array_equal(one, np.arange(extent)) for one, extent in zip(left, values.shape, strict=True))
    return values if is_all else values[np.ix_(*left)]


def _indices(space: h5py.h5s.SpaceID) -> list[Indices]:
    """Indices along each axis of what is selected, ascending."""
    if _is_whole(space):
        return [np.arange(extent) for extent in space.shape]
    return [
        (start + stride * np.arange(count)[:, None] + np.arange(block)).ravel()
        for start, stride, count, block in zip(*space.get_regular_hyperslab(), strict=True)
    ]


def _is_whole(space: h5py.h5s.SpaceID) -> bool:
    return bool(space.get_select_type() == h5py.h5s.SEL_ALL)


def _is_regular(space: h5py.h5s.SpaceID) -> bool:
    """Whether a selection is of evenly spaced blocks, or whole, of a fixed extent."""
    if _is_whole(space):
        return True
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return False
    return all(h5py.h5s.UNLIMITED not in one for one in space.get_regular_hyperslab()[2:])


def _place(mapping: Mapping) -> str:
    return mapping.array if mapping.file == ITSELF else f"{mapping.file}:{mapping.array}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
