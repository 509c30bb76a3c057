"""Checks a scan that a reader found in a file, and writes it to the store block by block."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from storage.chunks import plan_tiles
from storage.datasets.counts import check_counts, to_counts
from storage.datasets.framing import Framing, frame_about
from storage.errors import FieldError
from storage.layout import DATASET
from storage.readers.record import Node, ScanSource

MIN_GOOD_FRACTION = 0.1
"""A mask that leaves less of the frame than this has its meaning the wrong way round."""

MAX_FIELD_M = 0.05
"""Positions that spread further than this are not in metres [m]."""

SPEC = DATASET["scans/{scan}"]


@dataclass(frozen=True)
class ScanOverrides:
    """Values that the dataset states for its scans; each replaces what a file states.

    Attributes
    ----------
    distance_m, detector_pixel_size_m : float, optional
    orientation : int
        0-7, see ``readers.framing.Framing``.
    beam_centre_px : (y, x), optional
        As in the file, before orientation.
    n_pixels : int, optional
        Side to crop the frames to.
    """

    distance_m: float | None = None
    detector_pixel_size_m: float | None = None
    orientation: int = 0
    beam_centre_px: tuple[float, float] | None = None
    n_pixels: int | None = None


@dataclass(frozen=True)
class ScanRecord:
    """A scan that passed: its fields as they will be stored, its frames still in the file.

    Attributes
    ----------
    positions_m : (P, 2) float64 [m]
    mask : (N, N) bool
    probe : (M, N, N) complex64 or None
    frames : Node, (P, ny, nx)
        As in the file.
    framing : Framing
    good : (N, N) bool
        The mask before orientation.
    dtype : numpy dtype
        uint16, or uint32 where a count needs it.
    """

    label: str
    energy_ev: float
    distance_m: float
    detector_pixel_size_m: float
    positions_m: NDArray[np.float64]
    mask: NDArray[np.bool_]
    probe: NDArray[np.complex64] | None
    frames: Node
    framing: Framing
    good: NDArray[np.bool_]
    dtype: np.dtype[Any]

    @property
    def n_positions(self) -> int:
        """Number P of scan positions."""
        return len(self.positions_m)

    @property
    def n_pixels(self) -> int:
        """Side N of a stored frame."""
        return self.framing.n_pixels


Check: TypeAlias = Callable[[ScanRecord], Iterable[tuple[str, str]]]
"""A further check of a scan, (field, message) for each fault: the physics lives elsewhere."""


def examine(
    source: ScanSource, overrides: ScanOverrides, check: Check | None = None
) -> tuple[ScanRecord | None, list[FieldError]]:
    """Check one scan of a file whole, reading every frame once.

    Returns
    -------
    record : ScanRecord or None
        None where there are faults.
    faults : list of FieldError
        Everything found wrong.
    """
    faults = [*source.faults]
    distance = _stated_or_found("distance_m", overrides.distance_m, source.distance_m, faults)
    pixel = _stated_or_found("detector_pixel_size_m", overrides.detector_pixel_size_m, source.detector_pixel_size_m, faults)
    faults += _position_faults(source)
    framing = None if source.frames is None else _framing(source, overrides, faults)
    report = None if framing is None else check_counts(source, framing)
    if report is not None:
        faults += report.faults
        if report.good.mean() < MIN_GOOD_FRACTION:
            faults.append(FieldError("mask", f"leaves {report.good.mean():.1%} of the pixels; is its meaning inverted?"))
    if faults or framing is None or report is None or source.positions_m is None or source.frames is None:
        return None, faults
    record = ScanRecord(
        label=source.label,
        energy_ev=float(source.energy_ev or np.nan),
        distance_m=float(distance or np.nan),
        detector_pixel_size_m=float(pixel or np.nan),
        positions_m=source.positions_m,
        mask=framing.orient(report.good),
        probe=_probe(source, framing),
        frames=source.frames,
        framing=framing,
        good=report.good,
        dtype=report.dtype,
    )
    faults = [FieldError(field, message) for field, message in (check(record) if check else ())]
    return (None if faults else record), faults


def _stated_or_found(field: str, stated: float | None, found: float | None, faults: list[FieldError]) -> float | None:
    value = found if stated is None else stated
    if value is None and not any(fault.field == field for fault in faults):
        faults.append(FieldError(field, "missing: neither the file nor the dataset gives it"))
    return value


def _position_faults(source: ScanSource) -> list[FieldError]:
    positions, frames = source.positions_m, source.frames
    if positions is None:
        return []
    faults = []
    if frames is not None and frames.shape[0] != len(positions):
        faults.append(FieldError("positions_m", f"{len(positions)} positions for {frames.shape[0]} frames"))
    extent = float(np.ptp(positions, axis=0).max()) if len(positions) else 0.0
    if extent > MAX_FIELD_M:
        faults.append(FieldError("positions_m", f"spread over {extent:g} m; are they in micrometres?"))
    return faults


def _framing(source: ScanSource, overrides: ScanOverrides, faults: list[FieldError]) -> Framing | None:
    assert source.frames is not None
    ny, nx = source.frames.shape[1:]
    before = len(faults)
    if source.mask is not None and source.mask.shape != (ny, nx):
        faults.append(FieldError("mask", f"is {source.mask.shape} for frames of {(ny, nx)}"))
    if source.probe is not None and source.probe.shape[1:] != (ny, nx):
        faults.append(FieldError("probe", f"is {source.probe.shape[1:]} for frames of {(ny, nx)}"))
    try:
        framing = frame_about(
            (ny, nx), overrides.beam_centre_px or source.beam_centre_px, overrides.orientation, overrides.n_pixels
        )
    except ValueError as error:
        faults.append(FieldError("beam_centre_px" if "centre" in str(error) else "orientation", str(error)))
    return framing if len(faults) == before else None


def _probe(source: ScanSource, framing: Framing) -> NDArray[np.complex64] | None:
    if source.probe is None:
        return None
    whole = source.probe.shape[-2:] == (framing.n_pixels, framing.n_pixels)
    return framing.orient(source.probe if whole else framing.crop_probe(source.probe))


def write_scan(record: ScanRecord, directory: Path, attributes: Mapping[str, Any]) -> str:
    """Write a scan as a Zarr group into ``directory``, block by block.

    Returns
    -------
    str
        Digest of everything stored that a computation can see, for naming what is computed from it.
    """
    group = zarr.create_group(store=directory, overwrite=True)
    n = record.n_pixels
    digest = hashlib.sha256()
    counts = _create(group, "counts", (record.n_positions, n, n), record.dtype)
    for tile in plan_tiles(counts.shape, counts.chunks, counts.chunks):
        frames = record.framing.crop(np.asarray(record.frames[tile[0]]))
        block = record.framing.orient(to_counts(frames, record.good, record.dtype))
        counts[tile[0]] = block
        digest.update(block.data)
    arrays = {"positions_m": record.positions_m, "mask": record.mask, "probe": record.probe}
    for name, values in arrays.items():
        if values is not None:
            _create(group, name, values.shape, values.dtype)[...] = values
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(values).data)
    numbers = (record.energy_ev, record.distance_m, record.detector_pixel_size_m)
    digest.update(np.array([*numbers, *counts.shape], np.float64).data)
    group.attrs.update(
        {
            **attributes,
            **dict(zip(("energy_ev", "distance_m", "detector_pixel_size_m"), numbers, strict=True)),
            "digest": digest.hexdigest(),
        }
    )
    return digest.hexdigest()


def _create(group: zarr.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> zarr.Array:
    spec = SPEC[name]
    spec.check(shape, dtype)
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=spec.chunk_shape(shape),
        dimension_names=spec.dims,
        attributes=spec.attributes(),
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
        config={"write_empty_chunks": True},
    )
