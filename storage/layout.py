"""THE table of what is stored: path, dimensions, dtype, chunks, unit and name of every array.

Nothing else in the code knows a path inside a store. ``DATASET`` is one specimen's measurement, ``RESULTS`` what a run
gives back; in a group's path ``{dataset}`` and ``{scan}`` stand for names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike

from storage.errors import LayoutError

TARGET_CHUNK_BYTES: Final = 16 * 2**20
"""A stored chunk stays between half and twice this, where the array is large enough [bytes, uncompressed]."""
IMAGE_CHUNK_BYTES: Final = 2**19
"""Most bytes of a chunk of an image: the spectrum of a pixel needs one chunk of each, and a whole image few requests."""


@dataclass(frozen=True)
class ArraySpec:
    """One stored array.

    Attributes
    ----------
    name : str
    dims : tuple of str
        Dimension names, in order.
    dtypes : tuple of str
        NumPy dtypes it may have; ``string`` is variable-length text.
    unit : str
        UDUNITS notation; "1" for a pure number.
    long_name : str
    single : str
        Dimension along which a chunk has extent 1, because each of its entries has a writer of its own; or "".
    flags : tuple of str
        What the values 0, 1, 2 ... of categories mean, each in one word.
    """

    name: str
    dims: tuple[str, ...]
    dtypes: tuple[str, ...]
    unit: str
    long_name: str
    single: str = ""
    flags: tuple[str, ...] = ()

    def chunk_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Chunk of an array of ``shape``: a tile, of an image cut into equal parts of at most 512 KiB along y."""
        tile = self.tile_shape(shape)
        if self.dims not in (("y", "x"), (self.single, "y", "x")):
            return tile
        *energy, n_rows, n_columns = tile
        n_parts = -(-n_rows // max(1, IMAGE_CHUNK_BYTES // (n_columns * self._itemsize)))
        return (*energy, -(-n_rows // n_parts), n_columns)

    def tile_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Part of an array that is written at a time: extent 1 along ``single``, the first other axis cut to about 16 MiB."""
        if len(shape) != len(self.dims):
            raise LayoutError(f"{self.name} has dimensions {self.dims}, got shape {tuple(shape)}")
        tile = [1 if dim == self.single else max(1, n) for dim, n in zip(self.dims, shape, strict=True)]
        cut = next((axis for axis, dim in enumerate(self.dims) if dim != self.single), None)
        if cut is not None:
            row = self._itemsize * prod(n for axis, n in enumerate(tile) if axis != cut)
            tile[cut] = min(tile[cut], max(1, TARGET_CHUNK_BYTES // row))
        return tuple(tile)

    @property
    def _itemsize(self) -> int:
        """Most bytes of one number."""
        return 8 if self.dtypes == ("string",) else max(np.dtype(dtype).itemsize for dtype in self.dtypes)

    def attributes(self) -> dict[str, Any]:
        """Return the attributes xarray reads; of categories also ``flag_values`` and ``flag_meanings`` (CF conventions 3.5)."""
        named = {"flag_values": list(range(len(self.flags))), "flag_meanings": " ".join(self.flags)} if self.flags else {}
        return {"units": self.unit, "long_name": self.long_name, **named}

    def check(self, shape: Sequence[int], dtype: DTypeLike) -> None:
        """Refuse a shape or dtype that is not the table's.

        Raises
        ------
        LayoutError
        """
        name = "string" if np.dtype(dtype).kind in "OUT" else np.dtype(dtype).name
        if len(shape) != len(self.dims) or name not in self.dtypes:
            raise LayoutError(f"{self.name} is {self.dims} of {'|'.join(self.dtypes)}, got {tuple(shape)} of {name}")


def _table(*specs: ArraySpec) -> dict[str, ArraySpec]:
    return {spec.name: spec for spec in specs}


def _map(name: str, unit: str, long_name: str) -> ArraySpec:
    return ArraySpec(name, ("y", "x"), ("float32",), unit, long_name)


F32, F64, C64, BOOL, I8 = ("float32",), ("float64",), ("complex64",), ("bool",), ("int8",)
INT: Final = ("int8", "int16", "int32", "int64")
STATUS_FLAGS: Final = ("ok", "at_bound", "not_converged", "masked_vacuum", "masked_jump", "masked_not_finite")
DOMAIN_FLAGS: Final = ("outside", *(f"domain_{k}" for k in range(1, 13)))
TEXT: Final = ("string",)

COORDINATES: Final = _table(
    ArraySpec("energy", ("energy",), F64, "eV", "photon energy"),
    ArraySpec("y", ("y",), F64, "m", "position down"),
    ArraySpec("x", ("x",), F64, "m", "position right"),
    ArraySpec("v", ("v",), F64, "m", "position down, from the probe's centre"),
    ArraySpec("u", ("u",), F64, "m", "position right, from the probe's centre"),
    ArraySpec("mode", ("mode",), INT, "1", "probe mode"),
    ArraySpec("cycle", ("cycle",), INT, "1", "reconstruction cycle"),
    ArraySpec("position", ("position",), INT, "1", "scan position"),
    ArraySpec("frequency", ("frequency",), F64, "m-1", "spatial frequency"),
    ArraySpec("axis", ("axis",), TEXT, "1", "axis of the image"),
    ArraySpec("domain", ("domain",), INT, "1", "domain, in order of mean edge energy"),
    ArraySpec("descriptor", ("descriptor",), TEXT, "1", "map that spans the space of the domains"),
    ArraySpec("k", ("k",), INT, "1", "number of domains"),
    ArraySpec("component", ("component",), INT, "1", "principal component, the one that explains most first"),
    ArraySpec("rank", ("rank",), INT, "1", "rank of the principal component"),
    ArraySpec("factor", ("factor",), INT, "1", "non-negative factor"),
    ArraySpec("dataset", ("dataset",), TEXT, "1", "dataset"),
    ArraySpec("group", ("group",), TEXT, "1", "group of specimens"),
    ArraySpec("bound", ("bound",), TEXT, "1", "end of the interval"),
    ArraySpec("reference", ("reference",), TEXT, "1", "reference compound"),
    ArraySpec("bin", ("bin",), INT, "1", "histogram bin"),
    ArraySpec("bin_centre", ("descriptor", "bin"), F64, "1", "centre of the histogram bin, in the descriptor's unit"),
    ArraySpec("dataset_group", ("dataset",), TEXT, "1", "group the dataset belongs to"),
)
"""Coordinates of every group; the first of each is the dimension's own."""

DATASET: Final[Mapping[str, Mapping[str, ArraySpec]]] = {
    "": _table(ArraySpec("mask", ("v", "u"), BOOL, "1", "detector pixels good at every energy")),
    "scans/{scan}": _table(
        ArraySpec("counts", ("position", "v", "u"), ("uint16", "uint32"), "count", "photons counted in each pixel"),
        ArraySpec("positions_m", ("position", "axis"), F64, "m", "position (y, x) of the probe"),
        ArraySpec("mask", ("v", "u"), BOOL, "1", "detector pixels that are good"),
        ArraySpec("probe", ("mode", "v", "u"), C64, "1", "guess of the probe that came with the scan"),
        ArraySpec("object", ("y", "x"), C64, "1", "object, 1 outside what was seen (datasets of images)"),
        ArraySpec("absorption", ("y", "x"), F32, "1", "amplitude absorption -ln|O|, or -ln(I)/2 (datasets of images)"),
        ArraySpec("seen", ("y", "x"), BOOL, "1", "pixels in which the specimen was seen (datasets of images)"),
        ArraySpec("errors", ("quantity",), F64, "1", "standard errors of absorption and phase, NaN if not stated (images)"),
    ),
}
"""Dataset store, one a specimen."""

_RECONSTRUCTION = _table(
    ArraySpec("probe", ("energy", "mode", "v", "u"), C64, "1", "probe [square root of counts]", "energy"),
    ArraySpec("error", ("energy", "cycle"), F32, "1", "R factor of each cycle; NaN after an early end", "energy"),
    ArraySpec(
        "frame_px", ("energy", "cycle"), INT, "pixel", "side of the middle of the frames that each cycle saw; 0 after an end"
    ),
    ArraySpec("noise_error", ("energy",), F32, "1", "R factor that photon noise alone would leave"),
    ArraySpec("cycles", ("energy",), INT, "1", "cycles that were run"),
    ArraySpec("mode_power", ("energy", "mode"), F32, "1", "share of each mode in the probe's power; 0 where an energy has fewer"),
    ArraySpec("positions", ("energy", "position", "axis"), F64, "m", "position (y, x) of the probe, as corrected"),
    ArraySpec("displacement_rms", ("energy",), F32, "pixel", "root mean square correction of the positions"),
    ArraySpec("frame_flux", ("energy", "position"), F32, "1", "flux of each frame relative to the scan's"),
    ArraySpec("prtf", ("energy", "frequency"), F32, "1", "phase retrieval transfer function", "energy"),
    ArraySpec("frc", ("energy", "frequency"), F32, "1", "Fourier ring correlation with the next energy", "energy"),
    ArraySpec("half_bit", ("frequency",), F32, "1", "half-bit threshold of the ring correlation"),
    ArraySpec("resolution", ("energy",), F32, "m", "full period at which the ring correlation meets half a bit"),
    ArraySpec("prtf_resolution", ("energy",), F32, "m", "full period at which the transfer function falls to 1/e"),
)

_SPECTRA = _table(
    ArraySpec("absorption", ("energy", "y", "x"), F32, "1", "amplitude absorption A = -ln|O|", "energy"),
    ArraySpec("phase", ("energy", "y", "x"), F32, "rad", "phase of O", "energy"),
    ArraySpec("vacuum_mask", ("y", "x"), BOOL, "1", "pixels known to be empty"),
    ArraySpec("sample_mask", ("y", "x"), BOOL, "1", "pixels of the specimen"),
    ArraySpec("shift", ("energy", "axis"), F32, "pixel", "drift that was removed"),
    ArraySpec("kk_residual", ("energy",), F32, "1", "Kramers-Kronig residual [electrons per absorber], after"),
    ArraySpec("kk_residual_before", ("energy",), F32, "1", "Kramers-Kronig residual [electrons per absorber], before"),
    ArraySpec("kk_measured", ("energy",), F32, "1", "phase's f' without its smooth part, before [electrons per absorber]"),
    ArraySpec("kk_predicted", ("energy",), F32, "1", "the same, predicted from the absorption [electrons per absorber]"),
    ArraySpec("sigma_absorption", ("energy",), F32, "1", "standard deviation of absorption in vacuum"),
    ArraySpec("sigma_phase", ("energy",), F32, "rad", "standard deviation of phase in vacuum"),
    ArraySpec("incident_intensity", ("energy",), F32, "count", "I0 from the empty area; 1 where images came normalised"),
)

_MAPS = _table(
    _map("edge_energy", "eV", "edge energy b2"),
    _map("edge_jump", "1", "edge jump b1"),
    _map("edge_width", "eV", "edge width b3"),
    _map("offset", "1", "absorption before the edge, a"),
    _map("pre_edge_height", "1", "pre-edge height c11"),
    _map("pre_edge_energy", "eV", "pre-edge energy c12"),
    _map("pre_edge_width", "eV", "pre-edge width c13"),
    _map("pre_edge_area", "eV", "pre-edge area pi c11 c13"),
    _map("white_line_height", "1", "white line height c21"),
    _map("white_line_energy", "eV", "white line energy c22"),
    _map("white_line_width", "eV", "white line width c23"),
    _map("pre_edge_ratio", "eV", "pre-edge area over edge jump"),
    _map("n_absorber", "m-2", "projected density of absorber atoms"),
    _map("n_electron", "m-2", "projected density of electrons"),
    _map("electron_ratio", "1", "electrons per absorber atom"),
    _map("residual", "1", "root mean square residual of the fit"),
    ArraySpec("status", ("y", "x"), I8, "1", "what became of the pixel's fit", flags=STATUS_FLAGS),
    ArraySpec("mask", ("y", "x"), BOOL, "1", "pixels that are kept"),
    _map("edge_energy_sigma", "eV", "standard error of the edge energy"),
    _map("pre_edge_ratio_sigma", "eV", "standard error of the pre-edge ratio"),
    _map("electron_ratio_sigma", "1", "standard error of the electron ratio"),
    _map("n_electron_sigma", "m-2", "standard error of the projected density of electrons"),
    _map("edge_jump_sigma", "1", "standard error of the edge jump"),
    _map("edge_width_sigma", "eV", "standard error of the edge width"),
    _map("pre_edge_height_sigma", "1", "standard error of the pre-edge height"),
    _map("pre_edge_energy_sigma", "eV", "standard error of the pre-edge energy, infinite where there is no peak"),
    _map("pre_edge_area_sigma", "eV", "standard error of the pre-edge area"),
    _map("white_line_height_sigma", "1", "standard error of the white line height"),
    _map("white_line_energy_sigma", "eV", "standard error of the white line energy, infinite where there is no peak"),
    _map("edge_energy_half", "eV", "edge energy at half height of the normalised spectrum"),
    _map("edge_energy_half_sigma", "eV", "standard error of the edge energy at half height"),
    _map("edge_energy_centroid", "eV", "edge energy by the centroid of the rise"),
    _map("edge_energy_centroid_sigma", "eV", "standard error of the edge energy by the centroid"),
    *(
        _map(f"{feature}_{part}", unit, f"{long_name} {part}")
        for feature, long_name in (
            ("pre_edge_2", "second pre-edge"),
            ("edge_2", "L2 edge"),
            ("white_line_2", "L2 white line"),
        )
        for part, unit in (("jump" if feature == "edge_2" else "height", "1"), ("energy", "eV"), ("width", "eV"))
    ),
)

_POOLED = _table(
    ArraySpec("centre", ("domain", "descriptor"), F64, "1", "centre of the domain, in the descriptor's unit"),
    ArraySpec("inertia", ("k",), F64, "1", "sum of squared distances to the nearest centre"),
    ArraySpec("fraction", ("dataset", "domain"), F64, "1", "share of the absorber atoms"),
    ArraySpec("group_fraction", ("group", "domain"), F64, "1", "share of the group's absorber atoms"),
    ArraySpec("fraction_interval", ("bound", "dataset", "domain"), F64, "1", "95 % interval of the fraction"),
    ArraySpec("group_interval", ("bound", "group", "domain"), F64, "1", "95 % interval of the group's fraction"),
    ArraySpec("domain_agreement", ("domain",), F64, "1", "Jaccard index of the domain with its like in a replicate"),
    ArraySpec("mean_absorption", ("domain", "energy"), F64, "1", "mean absorption spectrum"),
    ArraySpec("density", ("descriptor", "domain", "bin"), F64, "1", "share of the domain's pixels in each bin"),
)

_MIXTURE = _table(
    ArraySpec("fraction", ("reference", "y", "x"), F32, "1", "share of the reference in the pixel's spectrum"),
    ArraySpec("fraction_sigma", ("reference", "y", "x"), F32, "1", "standard error of the share"),
    _map("residual", "1", "root mean square residual of the mixture"),
)

_REFERENCES = _table(
    ArraySpec("absorption", ("reference", "energy"), F64, "1", "absorption, 0 before the edge and about 1 after it"),
    ArraySpec("edge_energy", ("reference",), F64, "eV", "edge energy b2"),
    ArraySpec("edge_energy_sigma", ("reference",), F64, "eV", "standard error of the edge energy"),
    ArraySpec("pre_edge_ratio", ("reference",), F64, "eV", "pre-edge area over edge jump"),
    ArraySpec("pre_edge_ratio_sigma", ("reference",), F64, "eV", "standard error of the pre-edge ratio"),
)

_COMPONENTS = _table(
    ArraySpec("mean_spectrum", ("energy",), F64, "1", "mean of the normalised spectra of all pixels"),
    ArraySpec("eigenspectrum", ("component", "energy"), F64, "1", "principal component of the normalised spectra"),
    ArraySpec("scree", ("rank",), F64, "1", "share of the variance that the component explains"),
    ArraySpec("factor_spectrum", ("factor", "energy"), F64, "1", "non-negative factor of the normalised spectra"),
)

_COMPONENT_MAPS = _table(
    ArraySpec("score", ("component", "y", "x"), F32, "1", "score of the principal component"),
    ArraySpec("factor_weight", ("factor", "y", "x"), F32, "1", "weight of the non-negative factor"),
)

RESULTS: Final[Mapping[str, Mapping[str, ArraySpec]]] = {
    "{dataset}/reconstruction": _RECONSTRUCTION,
    "{dataset}/spectra": _SPECTRA,
    "{dataset}/maps": _MAPS,
    "{dataset}/domains": _table(ArraySpec("label", ("y", "x"), I8, "1", "domain", flags=DOMAIN_FLAGS)),
    "{dataset}/references": _MIXTURE,
    "{dataset}/components": _COMPONENT_MAPS,
    "domains": _POOLED,
    "components": _COMPONENTS,
    "references": _REFERENCES,
}
"""Results store, one a run."""


def dataset_group(dataset: str, name: str) -> str:
    """Path of a dataset's group, such as its ``spectra``, in a results store."""
    return f"{dataset}/{name}"


def results_group(path: str) -> Mapping[str, ArraySpec]:
    """Return the arrays that the group at ``path`` of a results store may hold.

    Raises
    ------
    LayoutError
        The layout has no such group.
    """
    parts = path.split("/")
    pattern = "/".join(["{dataset}", parts[1]]) if len(parts) == 2 and parts[0] else path
    if pattern not in RESULTS:
        raise LayoutError(f"a results store has the groups {list(RESULTS)}, not {path!r}")
    return RESULTS[pattern]
