"""The probe: the initial guess from the optics, its resampling, and its modes."""

from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from tasks.errors import InvalidOptionError
from tasks.options.config import CONFIG
from tasks.units import wavelength_m

Array = NDArray[np.float64]

SHARP = 1e-6
"""An aperture that fades out over less than this share of its half width is sharp."""


@dataclass(frozen=True, config=CONFIG)
class ProbeSpec:
    """Description of the optics that make the probe; the ``probe`` attribute of a dataset."""

    kind: Literal["kb", "gaussian", "zone_plate", "supplied"] = "kb"
    """Kirkpatrick-Baez mirrors (a rectangular aperture's focus), a Gaussian, a Fresnel zone plate, or an array in the file."""
    fwhm_m: Annotated[float, Field(ge=1e-10, lt=1e-3)] = 300e-9
    """Full width at half maximum of the intensity in focus (``kb``, ``gaussian``)."""
    defocus_m: Annotated[float, Field(gt=-1, lt=1)] = 0.0
    """Distance of the specimen downstream of the focus."""
    apodisation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the aperture's half width over which a ``kb`` aperture fades out (raised cosine)."""
    outer_diameter_m: Annotated[float, Field(ge=1e-7, lt=1)] = 180e-6
    """Diameter of the zone plate."""
    outer_zone_m: Annotated[float, Field(ge=1e-10, le=1e-3)] = 50e-9
    """Width of the zone plate's outermost zone."""
    stop_diameter_m: Annotated[float, Field(ge=0, lt=1)] = 60e-6
    """Diameter of the zone plate's central stop, which is smaller than the zone plate."""

    @model_validator(mode="after")
    def _stop_lets_light_through(self) -> Self:
        if self.kind == "zone_plate" and self.stop_diameter_m >= self.outer_diameter_m:
            raise ValueError(
                f"stop_diameter_m must be below outer_diameter_m, or no light passes the zone plate; got a stop of "
                f"{self.stop_diameter_m:g} m and a zone plate of {self.outer_diameter_m:g} m"
            )
        return self

    def in_words(self) -> str:
        """The optics in a few words: ``KB mirrors, 300 nm, in focus``."""
        names = {"kb": "KB mirrors", "gaussian": "a Gaussian", "zone_plate": "a zone plate", "supplied": "as in the files"}
        width_m = self.outer_zone_m if self.kind == "zone_plate" else self.fwhm_m
        place = f"{self.defocus_m * 1e6:g} µm from the focus" if self.defocus_m else "in focus"
        return names[self.kind] if self.kind == "supplied" else f"{names[self.kind]}, {width_m * 1e9:g} nm, {place}"


def initial_probe(
    spec: ProbeSpec, energy_ev: float, pixel_size_m: float, n_pixels: int, power: float, n_modes: int = 1
) -> NDArray[np.complex64]:
    """(M, N, N) complex64: the first guess of the probe, centred on pixel ``[N // 2, N // 2]``.

    Parameters
    ----------
    spec : ProbeSpec
    energy_ev : float
    pixel_size_m : float
        Object pixel.
    n_pixels : int
        Side N of the window.
    power : float
        Photons a frame: the sum of |probe|^2 over pixels and modes.
    n_modes : int
        Number of modes M; those after the first are its products with Hermite-like polynomials and hold a tenth of the power.

    Raises
    ------
    InvalidOptionError
        The kind is ``supplied``, and the scan file holds no array.
    """
    shapes = {"kb": kb_focus, "gaussian": gaussian, "zone_plate": zone_plate}
    if spec.kind not in shapes:
        raise InvalidOptionError(
            "probe.kind 'supplied' needs a probe array in every scan file (CXI: source_1/illumination); none was found at "
            f"{energy_ev:.1f} eV"
        )
    field = shapes[spec.kind](spec, energy_ev, pixel_size_m, n_pixels)
    return scale_to_power(add_modes(field[None].astype(np.complex64), n_modes), power)


def scale_to_power(probe: NDArray[np.complex64], power: float) -> NDArray[np.complex64]:
    """The probe (M, N, N), scaled so that the sum of |probe|^2 is ``power`` [photons].

    Raises
    ------
    InvalidOptionError
        The probe is zero everywhere, or not finite.
    """
    total = float(np.sum(np.abs(probe) ** 2, dtype=float))
    if not 0 < total < np.inf:
        raise InvalidOptionError(
            f"a probe must have light in its window, got a power of {total:g}: do its optics fit frames of this size?"
        )
    return np.asarray((probe * np.sqrt(power / total)).astype(np.complex64))


def resample(probe: NDArray[np.complex64], ratio: float) -> NDArray[np.complex64]:
    """The same field (M, N, N) on pixels ``ratio`` times as large, by its Fourier series.

    Outside its window the field is continued periodically, as the discrete far field takes it: a cut to zero there would add
    more light far from the beam than a focused probe has.
    """
    n = probe.shape[-1]
    place = pixel_coordinates(n) * ratio
    waves = np.exp(2j * np.pi * np.multiply.outer(place, np.fft.fftfreq(n)))
    spectrum = np.fft.fft2(np.fft.ifftshift(probe, axes=(1, 2))) / n**2
    return np.asarray((waves @ spectrum @ waves.T).astype(np.complex64))


def add_modes(probe: NDArray[np.complex64], n_modes: int) -> NDArray[np.complex64]:
    """The probe with ``n_modes`` modes: those of ``probe`` (M, N, N), then products of the first with polynomials."""
    have, n = probe.shape[:2]
    y, x = np.meshgrid(pixel_coordinates(n), pixel_coordinates(n), indexing="ij")
    ramps = [x, y, x * y, x**2 - y**2, x**2 + y**2]
    modes = list(probe[:n_modes])
    for k in range(have, n_modes):
        mode = probe[0] * ramps[(k - 1) % len(ramps)] ** ((k - 1) // len(ramps) + 1)
        share = 0.1 / (n_modes - have) * np.sum(np.abs(probe[0]) ** 2) / np.sum(np.abs(mode) ** 2)
        modes.append(mode * np.sqrt(share))
    return np.stack(modes).astype(np.complex64)


def orthogonal_modes(probe: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """(M, M) complex64: the unitary matrix that makes the modes (M, N, N) orthogonal, the strongest first.

    The modes it gives have the same diffraction patterns (Thibault & Menzel, Nature 494, 68 (2013)).
    """
    flat = probe.reshape(len(probe), -1).astype(complex)
    _, vectors = np.linalg.eigh(flat @ flat.conj().T)
    return vectors[:, ::-1].conj().T.astype(np.complex64)


def power_fractions(probe: NDArray[np.complex64]) -> Array:
    """(M,) float64: share of each mode of a probe (M, N, N) in its power."""
    power = np.sum(np.abs(probe) ** 2, axis=(1, 2), dtype=float)
    return np.asarray(power / power.sum())


def pixel_coordinates(n_pixels: int) -> Array:
    """(N,) float64: coordinates of pixels [px], 0 at pixel ``N // 2``."""
    return np.arange(n_pixels, dtype=float) - n_pixels // 2


def kb_focus(spec: ProbeSpec, energy_ev: float, pixel_size_m: float, n_pixels: int) -> NDArray[Any]:
    """(N, N) complex128: the field of a rectangular aperture ``defocus_m`` downstream of its focus."""
    along = kb_profile(spec, energy_ev, pixel_coordinates(n_pixels) * pixel_size_m)
    return np.outer(along, along)


def kb_profile(spec: ProbeSpec, energy_ev: float, distance_m: Array, centres_m: Array | None = None) -> NDArray[Any]:
    """One factor of `kb_focus`, at distances from an origin [m], of beams whose axes are displaced from it.

    ``int a(v) exp(2 pi i u v - i pi lambda dz v^2 / s^2) dv`` over the aperture |v| < 1/2, with ``u = y / s`` and s such
    that the focus is ``fwhm_m`` wide. The wave of a displaced beam is the product of one of ``distance_m`` and one of
    ``centres_m`` in every v, so that many beams take a matrix product instead of an exponential each.

    Parameters
    ----------
    spec : ProbeSpec
    energy_ev : float
    distance_m : (N,) float array
    centres_m : (...) float array, optional
        Axes of the beams, one at 0 by default.

    Returns
    -------
    (..., N) complex128 array
    """
    v, aperture = kb_aperture(spec.apodisation)
    scale = spec.fwhm_m / focus_width(spec.apodisation)
    pupil = aperture * np.exp(-1j * np.pi * wavelength_m(energy_ev) * spec.defocus_m * (v / scale) ** 2)
    if centres_m is not None:
        pupil = pupil * np.exp(-2j * np.pi * np.multiply.outer(centres_m / scale, v))
    return np.asarray(pupil @ np.exp(2j * np.pi * np.multiply.outer(v, distance_m / scale)))


def kb_aperture(apodisation: float) -> tuple[Array, Array]:
    """(U,) coordinates across an aperture of unit width, and its amplitude, a raised cosine towards the rim."""
    v = (np.arange(256) + 0.5) / 256 - 0.5
    rim = (0.5 - np.abs(v)) / (0.5 * apodisation) if apodisation > SHARP else np.ones_like(v)
    return v, np.sin(np.pi / 2 * np.clip(rim, 0, 1)) ** 2


@lru_cache(maxsize=64)
def focus_width(apodisation: float) -> float:
    """Full width at half maximum of ``|sum a exp(2 pi i u v)|^2`` in u: 0.886 for a sharp aperture."""
    v, aperture = kb_aperture(apodisation)
    u = np.linspace(0, 2, 4001)
    profile = (np.cos(2 * np.pi * np.outer(u, v)) @ aperture) ** 2
    return float(2 * u[np.argmax(profile < profile[0] / 2)])


def gaussian(spec: ProbeSpec, energy_ev: float, pixel_size_m: float, n_pixels: int) -> NDArray[Any]:
    """(N, N) complex128: a Gaussian beam ``defocus_m`` downstream of a focus ``fwhm_m`` wide (Siegman, Lasers, ch. 17)."""
    waist = spec.fwhm_m / np.sqrt(2 * np.log(2))
    rayleigh = np.pi * waist**2 / wavelength_m(energy_ev)
    q = 1 + 1j * spec.defocus_m / rayleigh
    axis = pixel_coordinates(n_pixels) * pixel_size_m
    along = np.exp(-(axis**2) / (waist**2 * q))
    return np.outer(along, along)


def zone_plate(spec: ProbeSpec, energy_ev: float, pixel_size_m: float, n_pixels: int) -> NDArray[Any]:
    """(N, N) complex128: the field of an annular lens ``defocus_m`` downstream of its focus.

    The pupil |u| < 1 / (2 outer_zone) is sampled four times finer than the window needs, so that rings of a strongly
    defocused beam that leave the window are not aliased into it.
    """
    fine = 4 * n_pixels
    u = np.fft.fftfreq(fine, pixel_size_m)
    radius = np.hypot(u[:, None], u[None, :])
    outer = 1 / (2 * spec.outer_zone_m)
    inner = outer * spec.stop_diameter_m / spec.outer_diameter_m
    pupil = ((radius < outer) & (radius >= inner)) * np.exp(-1j * np.pi * wavelength_m(energy_ev) * spec.defocus_m * radius**2)
    field = np.fft.fftshift(np.fft.ifft2(pupil))
    first = fine // 2 - n_pixels // 2
    return field[first : first + n_pixels, first : first + n_pixels]
