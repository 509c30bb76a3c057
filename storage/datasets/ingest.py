"""Checks a scan that a reader found in a file, and writes it to the store block by block."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from storage.chunks import plan_tiles
from storage.datasets.counts import CountReport, check_counts, frame_masks_of, to_counts
from storage.datasets.frames import MAX_LEFT_OUT, BadFrames, copies, find_bad_frames, named, revisited
from storage.datasets.framing import Framing, frame_about
from storage.datasets.masking import beam_warnings, hidden_beam, hot_pixels, hot_warning, mask_faults, mask_warnings
from storage.errors import FieldError
from storage.layout import DATASET
from storage.readers.photon_energy import impossible_energy, is_photon_energy
from storage.readers.record import Node, ScanSource, unwritten_frames

MAX_FIELD_M: Final = 0.05
"""Positions that spread further than this are not in metres [m]."""

SPEC = DATASET["scans/{scan}"]


@dataclass(frozen=True)
class ScanOverrides:
    """Values that the dataset states for its scans; each replaces what a file states, right or wrong.

    Attributes
    ----------
    distance_m, detector_pixel_size_m : float, optional
    orientation : int
        0-7, see ``framing.Framing``.
    beam_centre_px : (y, x), optional
        As in the file, before orientation.
    n_pixels : int, optional
        Side to crop the frames to.
    saturation_count : float, optional
        Smallest reading of a pixel that is no count.
    bad_frames : str
        What becomes of frames that no reconstruction can use, see ``frames.BadFrames``.
    describes_probe : bool
        Whether optics are described, so that a probe in the file is not used and may be wrong.
    """

    distance_m: float | None = None
    detector_pixel_size_m: float | None = None
    orientation: int = 0
    beam_centre_px: tuple[float, float] | None = None
    n_pixels: int | None = None
    saturation_count: float | None = None
    bad_frames: BadFrames = "refuse"
    describes_probe: bool = False

    def stated(self) -> set[str]:
        """Names of the fields that the dataset states."""
        names = ("distance_m", "detector_pixel_size_m", "beam_centre_px", "saturation_count")
        return {name for name in names if getattr(self, name) is not None} | ({"probe"} if self.describes_probe else set())


@dataclass(frozen=True)
class ScanRecord:
    """A scan that passed: its fields as they will be stored, its frames still in the file.

    Attributes
    ----------
    positions_m : (P, 2) float64 [m]
    mask : (N, N) bool
    probe : (M, N, N) complex64 or None
    frames : Node, (n, ny, nx)
        As in the file.
    frame_masks : Node, (n, ny, nx) bool, or None
    kept : (P,) int
        Indices of the frames of the file that are stored, ascending.
    framing : Framing
    good : (N, N) bool
        The mask before orientation.
    dtype : numpy dtype
        uint16, or uint32 where a count needs it; its largest number stands for a pixel that is bad in that frame.
    warnings : tuple of str
        What was decided about the scan and should be known, one sentence each.
    """

    label: str
    energy_ev: float
    distance_m: float
    detector_pixel_size_m: float
    positions_m: NDArray[np.float64]
    mask: NDArray[np.bool_]
    probe: NDArray[np.complex64] | None
    frames: Node
    frame_masks: Node | None
    kept: NDArray[np.intp]
    framing: Framing
    good: NDArray[np.bool_]
    dtype: np.dtype[Any]
    warnings: tuple[str, ...] = ()

    @property
    def n_positions(self) -> int:
        """Number P of scan positions."""
        return len(self.positions_m)

    @property
    def n_pixels(self) -> int:
        """Side N of a stored frame."""
        return self.framing.n_pixels

    def counts(self, part: slice) -> NDArray[Any]:
        """Read counts (n, N, N) of some of the P stored frames, oriented: 0 where masked, the largest number where bad once."""
        indices = self.kept[part]
        first, stop = int(indices[0]), int(indices[-1]) + 1
        chosen = indices - first
        frames = self.framing.crop(np.asarray(self.frames[first:stop]))[chosen]
        counts = to_counts(frames, self.good, self.dtype)
        if self.frame_masks is not None:
            good = frame_masks_of(self.frame_masks, self.framing, first, stop - first)[chosen]
            counts[self.good & ~good] = np.iinfo(self.dtype).max
        return self.framing.orient(counts)


Check: TypeAlias = Callable[[ScanRecord], tuple[Iterable[tuple[str, str]], Iterable[str]]]
"""A further check of a scan: (field, message) for each fault, and its warnings. The physics lives elsewhere."""


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
    faults = [fault for fault in source.faults if fault.field not in overrides.stated()]
    if overrides.describes_probe and not _probe_fits(source):
        source = replace(source, probe=None)
    warnings = list(source.warnings)
    distance = _stated_or_found("distance_m", overrides.distance_m, source.distance_m, faults)
    pixel = _stated_or_found("detector_pixel_size_m", overrides.detector_pixel_size_m, source.detector_pixel_size_m, faults)
    faults += _energy_faults(source, faults)
    faults += _position_faults(source)
    framing = None if source.frames is None else _framing(source, overrides, pixel, faults)
    if framing is None or source.frames is None:
        return None, faults
    saturation = source.saturation_count if overrides.saturation_count is None else overrides.saturation_count
    report = check_counts(source, framing, saturation)
    warnings += _judge_pixels(source, framing, report, faults)
    kept = _judge_frames(source, report, overrides.bad_frames, faults, warnings)
    if faults or source.positions_m is None:
        return None, faults
    record = ScanRecord(
        label=source.label,
        energy_ev=float(source.energy_ev or np.nan),
        distance_m=float(distance or np.nan),
        detector_pixel_size_m=float(pixel or np.nan),
        positions_m=source.positions_m[kept],
        mask=framing.orient(report.good),
        probe=_probe(source, framing),
        frames=source.frames,
        frame_masks=source.frame_masks,
        kept=kept,
        framing=framing,
        good=report.good,
        dtype=report.dtype,
        warnings=tuple(warnings),
    )
    found, further = check(record) if check else ((), ())
    faults = [FieldError(field, message) for field, message in found]
    return (None if faults else replace(record, warnings=(*record.warnings, *further))), faults


def _probe_fits(source: ScanSource) -> bool:
    """Whether the file's probe, if it has one, has the size of its frames."""
    return source.probe is None or source.frames is None or source.probe.shape[1:] == source.frames.shape[1:]


def _stated_or_found(field: str, stated: float | None, found: float | None, faults: list[FieldError]) -> float | None:
    value = found if stated is None else stated
    if value is None and not any(fault.field == field for fault in faults):
        faults.append(FieldError(field, "missing: neither the file nor the dataset gives it"))
    return value


def _energy_faults(source: ScanSource, known: Iterable[FieldError]) -> list[FieldError]:
    if any(fault.field == "energy_ev" for fault in known):
        return []
    if source.energy_ev is None:
        return [FieldError("energy_ev", "missing: the file does not state the photon energy")]
    return [] if is_photon_energy(source.energy_ev) else [FieldError("energy_ev", impossible_energy(source.energy_ev, "eV"))]


def _position_faults(source: ScanSource) -> list[FieldError]:
    positions, frames = source.positions_m, source.frames
    if positions is None:
        return []
    faults = []
    if frames is not None and frames.shape[0] != len(positions):
        faults.append(FieldError("positions_m", f"{len(positions)} positions for {frames.shape[0]} frames"))
    # A single misread position is found frame by frame, so the spread is that of the others.
    extent = float(np.ptp(np.quantile(positions, (0.05, 0.95), axis=0), axis=0).max() / 0.9) if len(positions) else 0.0
    if extent > MAX_FIELD_M:
        faults.append(FieldError("positions_m", f"spread over {extent:g} m; are they in micrometres?"))
    return faults


def _framing(source: ScanSource, overrides: ScanOverrides, pixel_m: float | None, faults: list[FieldError]) -> Framing | None:
    assert source.frames is not None
    n_frames, ny, nx = source.frames.shape
    before = len(faults)
    if source.mask is not None and source.mask.shape != (ny, nx):
        faults.append(FieldError("mask", f"is {source.mask.shape} for frames of {(ny, nx)}"))
    if source.frame_masks is not None and source.frame_masks.shape != (n_frames, ny, nx):
        faults.append(FieldError("mask", f"is {source.frame_masks.shape} for frames of {(n_frames, ny, nx)}"))
    if source.probe is not None and source.probe.shape[1:] != (ny, nx):
        faults.append(FieldError("probe", f"is {source.probe.shape[1:]} for frames of {(ny, nx)}"))
    centre_px = overrides.beam_centre_px
    try:
        if centre_px is None and source.beam_centre is not None:
            centre_px = source.beam_centre.in_pixels(pixel_m)
        framing = frame_about((ny, nx), centre_px, overrides.orientation, overrides.n_pixels)
    except ValueError as error:
        faults.append(FieldError("beam_centre_px" if "centre" in str(error) else "orientation", str(error)))
    return framing if len(faults) == before else None


def _judge_pixels(source: ScanSource, framing: Framing, report: CountReport, faults: list[FieldError]) -> Iterator[str]:
    """Add faults of counts and mask, mask hot pixels, and yield what the user should know of them."""
    mask = np.ones(report.good.shape, bool) if source.mask is None else framing.crop(source.mask)
    faults += report.faults
    faults += mask_faults(report, mask)
    yield from report.warnings
    if report.faults:
        return
    yield from mask_warnings(report, mask)
    yield from beam_warnings(report, (framing.rows.start, framing.columns.start))
    hot = hot_pixels(report, len(report.totals))
    if hot.any():
        report.good &= ~hot
        yield hot_warning(hot, (framing.rows.start, framing.columns.start))


def _judge_frames(
    source: ScanSource, report: CountReport, bad_frames: BadFrames, faults: list[FieldError], warnings: list[str]
) -> NDArray[np.intp]:
    """Return the frames to be stored; add to ``faults`` or ``warnings`` what stands apart."""
    assert source.frames is not None
    n_frames = len(report.totals)
    everything = np.arange(n_frames)
    positions = source.positions_m if source.positions_m is not None and len(source.positions_m) == n_frames else None
    unwritten = unwritten_frames(source.frames)
    if report.faults and not unwritten.any():
        return everything
    found = find_bad_frames(report.totals, report.constant, unwritten, positions, hidden_beam(report))
    bad = np.unique(np.concatenate([finding.frames for finding in found])) if found else everything[:0]
    if bad_frames == "refuse":
        faults += [FieldError(finding.field, f"{finding}; {_REMEDY}") for finding in found]
    elif len(bad) > MAX_LEFT_OUT * n_frames:
        faults += [FieldError(finding.field, f"{finding}; too many of {n_frames} to go on without") for finding in found]
    else:
        done = "left out" if bad_frames == "leave_out" else "kept all the same"
        warnings += [f"{finding}: {done}" for finding in found]
    same = np.setdiff1d(copies(report.totals, report.checksums), bad)
    if len(same):
        warnings.append(
            f"frames that equal an earlier one, count by count: {len(same)} ({named(same)}); photon noise makes no two frames "
            "equal. Did the read-out repeat frames, or are these data without noise?"
        )
    if positions is not None:
        again = np.setdiff1d(revisited(positions), bad)
        if len(again):
            warnings.append(f"frames at positions that return more often than others: {len(again)} ({named(again)})")
    return np.setdiff1d(everything, bad) if bad_frames == "leave_out" else everything


_REMEDY: Final = "mend the file, or let the dataset have bad_frames = 'leave_out' (store the scan without them) or 'keep'"


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
    counts = create_array(group, "counts", (record.n_positions, n, n), record.dtype)
    for tile in plan_tiles(counts.shape, counts.chunks, counts.chunks):
        block = record.counts(tile[0])
        counts[tile[0]] = block
        digest.update(block.data)
    arrays = {"positions_m": record.positions_m, "mask": record.mask, "probe": record.probe}
    for name, values in arrays.items():
        if values is not None:
            create_array(group, name, values.shape, values.dtype)[...] = values
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(values).data)
    numbers = (record.energy_ev, record.distance_m, record.detector_pixel_size_m)
    digest.update(np.array([*numbers, *counts.shape], np.float64).data)
    group.attrs.update(
        {
            **attributes,
            **dict(zip(("energy_ev", "distance_m", "detector_pixel_size_m"), numbers, strict=True)),
            "warnings": list(record.warnings),
            "n_frames_left_out": record.frames.shape[0] - record.n_positions,
            "digest": digest.hexdigest(),
        }
    )
    return digest.hexdigest()


def create_array(group: zarr.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> zarr.Array[Any]:
    """Make an array of a scan as the layout declares it."""
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
