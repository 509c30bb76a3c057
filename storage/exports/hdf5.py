"""Groups of a results store as groups of an HDF5 file, with dimension scales, units and names."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from storage.exports.source import Source

Part = tuple[str, DTypeLike, Callable[[NDArray[Any]], NDArray[Any]]]
"""One stored array of a variable: what follows the variable's name, its dtype, and how its values become this part."""

NO_VARIABLE: Final = "This is a netCDF dimension but not a netCDF variable. {:10d}"
"""Name of the dimension scale of a dimension that has no coordinate."""


def as_they_are(dtype: np.dtype[Any]) -> list[Part]:
    """Values as NumPy has them: complex numbers and truth values are types of h5py, which h5web and silx know."""
    return [("", dtype, np.asarray)]


def without_compounds(dtype: np.dtype[Any]) -> list[Part]:
    """Values in the atomic types of netCDF: two arrays for complex numbers, int8 for truth values."""
    if dtype.kind == "c":
        real = np.dtype(f"f{dtype.itemsize // 2}")
        return [("_real", real, np.real), ("_imag", real, np.imag)]
    return [("", np.int8, lambda values: values.astype(np.int8))] if dtype.kind == "b" else as_they_are(dtype)


def copy_group(source: Source, name: str, target: h5py.Group, parts_of: Callable[[np.dtype[Any]], list[Part]]) -> None:
    """Copy the arrays and attributes of one group, and attach each array's coordinates as dimension scales."""
    target.attrs.update({key: attribute(value) for key, value in source.store.attributes(name).items()})
    dims: dict[str, tuple[str, ...]] = {}
    for variable in sorted(source.store.arrays(name), key=lambda one: source.store.dims(name, one) != (one,)):
        along = source.store.dims(name, variable)
        dims |= dict.fromkeys(_copy_array(source, name, variable, target, parts_of), along)
    _attach_scales(target, dims)


def _copy_array(
    source: Source, group: str, name: str, target: h5py.Group, parts_of: Callable[[np.dtype[Any]], list[Part]]
) -> list[str]:
    """Copy one array block by block; the names under which it is stored."""
    array = source.store.array(group, name)
    attributes = {key: attribute(value) for key, value in array.attrs.items()}
    dtype = np.dtype(array.dtype)
    if dtype.kind in "TUO":
        stored = target.create_dataset(name, data=source.read(group, name).astype(object), dtype=h5py.string_dtype())
        stored.attrs.update(attributes)
        return [name]
    parts = parts_of(dtype)
    for suffix, part_dtype, _ in parts:
        target.create_dataset(name + suffix, array.shape, part_dtype).attrs.update(attributes)
    for index, values in source.blocks(group, name):
        for suffix, _, convert in parts:
            target[name + suffix][index] = convert(values)
    return [name + suffix for suffix, *_ in parts]


def _attach_scales(target: h5py.Group, dims: Mapping[str, tuple[str, ...]]) -> None:
    lengths = {dim: target[name].shape[axis] for name, along in dims.items() for axis, dim in enumerate(along)}
    for dim, length in lengths.items():
        if dims.get(dim) == (dim,):
            target[dim].make_scale(dim)
        else:
            target.create_dataset(dim, (length,), ">f4").make_scale(NO_VARIABLE.format(length))
    for name, along in dims.items():
        for axis, dim in enumerate(along):
            target[name].dims[axis].label = dim
            if dim != name:
                target[name].dims[axis].attach_scale(target[dim])


def attribute(value: object) -> object:
    """An attribute as HDF5 can hold it: numbers and text as they are, all else as JSON."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)
