"""Scans as the acquisition (GDA) of Diamond Light Source writes them.

====  ======================================================================================================================
I13   one file: ``entry1/instrument/<detector>/data`` (P, ny, nx), and ``*_sx`` and ``*_sy`` (P,) [um] in ``t1_sxy``,
      ``t1_sxyz`` or ``lab_sxy`` beside it
I08   a ZIP: ``entry1/instrument/_andorrastor/data`` (rows, columns, ny, nx) in one file; ``entry1/Counter1/sample_y`` (rows,)
      and ``sample_x`` (columns,) [um] in that of the STXM program; frames without light in a third, with "dark" in its
      name; the flat field in a fourth, as array ``flat`` (ny, nx)
====  ======================================================================================================================

Detectors that write a file of their own are linked to; it lies beside the scan then. Spectra of fluorescence are passed over.
The energy is ``energy`` beside the STXM program's positions, where it is; distance and pixel are the dataset's. I08's camera
adds an offset to every frame, so a scan of it without dark frames is warned of. A mask is a file of its own, see ``mask_file``.

Source: the documentation of ptypy's loaders I13_ffp and I08 (github.com/ptycho/ptypy), for the names in the files.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import h5py

from storage.readers.axes import positions_of_axes
from storage.readers.containers.hdf5 import NO_SIBLINGS, child_names, find_node, find_object
from storage.readers.corrections import corrected
from storage.readers.fields import Fields
from storage.readers.record import Node, ScanSource, is_of_spectra, not_beside

INSTRUMENT: Final = "entry1/instrument"
MOTORS: Final = tuple(f"{INSTRUMENT}/{motors}_s" for motors in ("t1_sxy/t1", "t1_sxyz/t1", "lab_sxy/lab"))
"""Paths of the motors, without the axis they end in."""
STXM: Final = "entry1/Counter1"
DARK_FILE: Final = "dark"
DARK_FRAMES: Final = "dark frames"
FLAT: Final = "flat"
CAMERA: Final = f"{INSTRUMENT}/_andorrastor"
UM: Final = 1e-6


def is_diamond(file: h5py.File) -> bool:
    """Whether a file is a scan of GDA: with an area detector's frames, or links to some."""
    return next(detectors(file), None) is not None or bool(_linked(file))


def is_diamond_scan(file: h5py.File) -> bool:
    """Whether a file of a folder is a scan with light."""
    return is_diamond(file) and not is_dark(file)


def is_dark(file: h5py.File) -> bool:
    """Whether a file is called one without light."""
    return DARK_FILE in Path(str(file.filename)).name.lower()


def detectors(file: h5py.File, siblings: Mapping[str, h5py.File] = NO_SIBLINGS) -> Iterator[str]:
    """Paths of the frames of all area detectors of a file, which may be in ``siblings`` that it links to."""
    group = find_object(file, INSTRUMENT)
    for name in child_names(group) if isinstance(group, h5py.Group) else []:
        path = f"{INSTRUMENT}/{name}/data"
        node = find_node(file, path, siblings)
        if node is not None and len(node.shape) in (3, 4) and not is_of_spectra(node.shape):
            yield path


def _linked(file: h5py.File) -> list[str]:
    """Names of the detectors whose data are links to other files, as those of detectors that write files themselves are."""
    group = find_object(file, INSTRUMENT)
    names = child_names(group) if isinstance(group, h5py.Group) else []
    inner = {name: find_object(file, f"{INSTRUMENT}/{name}") for name in names}
    return [
        name
        for name, one in inner.items()
        if isinstance(one, h5py.Group) and isinstance(one.get("data", getlink=True), h5py.ExternalLink)
    ]


def read_diamond(file: h5py.File, siblings: Mapping[str, h5py.File] = NO_SIBLINGS) -> list[ScanSource]:
    """Read the one energy of a scan, leaving its frames in the file; ``siblings`` are the HDF5 files beside it."""
    beside = [one for one in siblings.values() if one.filename != file.filename]
    stxm = next((one for one in beside if find_node(one, f"{STXM}/sample_x") is not None), file)
    darks = [one for one in beside if is_dark(one) and is_diamond(one)]

    def find(path: str) -> Node | None:
        if path == DARK_FRAMES:
            path = next(detectors(darks[0], siblings), path) if darks else path
            return find_node(darks[0], path, siblings) if darks else None
        if path == FLAT:
            return next((node for one in beside if (node := find_node(one, FLAT)) is not None), None)
        return find_node(stxm if path.startswith(STXM) else file, path, siblings)

    fields, found = Fields(find), [*detectors(file, siblings)]
    if len(found) > 1:
        fields.fault("counts", f"there are frames of several detectors, {', '.join(found)}: leave one in the file")
    elif not found:
        names = ", ".join(_linked(file))
        fields.fault("counts", f"the frames of {names} are in another file, which is not beside the scan; send both in one ZIP")
    elif absent := [name for name in _linked(file) if find(f"{INSTRUMENT}/{name}/data") is None]:
        fields.warnings.append(not_beside(found[0].split("/")[-2], absent))
    raw = fields.frames(found[0]) if found else None
    frames, mask = corrected(fields, raw, None, dark=(DARK_FRAMES,), flat=(FLAT,))
    if found and found[0].startswith(CAMERA) and not darks:
        fields.warnings.append(
            "no frames without light are beside the scan, so the offset that the camera adds (about 200 counts at I08) is not "
            'subtracted: send them in the same ZIP, with "dark" in the name of their file'
        )
    motor = next((path for path in MOTORS if find(f"{path}x") is not None), None)
    y_path, x_path = (f"{STXM}/sample_y", f"{STXM}/sample_x") if motor is None else (f"{motor}y", f"{motor}x")
    return [
        ScanSource(
            label="file",
            frames=frames,
            positions_m=positions_of_axes(fields, y_path, x_path, frames, unstated=UM, are_axes=motor is None),
            energy_ev=fields.energy_ev(f"{STXM}/energy", required=False),
            mask=mask,
            faults=tuple(fields.faults),
            warnings=tuple(fields.warnings),
        )
    ]
