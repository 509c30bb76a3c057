"""Warm start: one energy's object and probe as the start of another energy of the same specimen.

Neighbouring energies are nearly the same image. What differs is brought in first: the object pixel (lambda), the drift of the
specimen and the contrast of absorption and phase, all measured on an image of a few cycles that starts from an empty
object under the other energy's probe, and the flux, from the counts.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tasks.coupling.registration import FixedImage, coarse_shift
from tasks.errors import RegistrationError, WarmStartError
from tasks.gauge import field_of_view, smooth_phase
from tasks.ptycho.half_detector import coarser, half_canvas
from tasks.ptycho.probe import resample, scale_to_power
from tasks.ptycho.scan import Canvas, Scan, illumination
from tasks.ptycho.solver import CycleInputs
from tasks.ptycho.state import State

Array = NDArray[np.float64]
Object = NDArray[np.complex64]

QUICK_CYCLES = 8
"""Cycles of the image on which drift and contrast are measured: the drift to a tenth of a pixel."""
SMALLEST_AMPLITUDE = 1e-6
"""Of an object's pixel whose logarithm is taken."""
DRIFT_STEPS = 4
"""Gauss-Newton steps of the drift, at most."""
DRIFT_TOLERANCE_PX = 0.01
"""A shorter step is the last."""
MIN_SHARED_FIELD = 0.5
"""Share of this energy's scanned field that the starting energy must have seen."""
MIN_CORRELATION = 0.97
"""Correlation of the phases of quick image and start, smoothed by `CORRELATION_PX`, below which they are not one specimen:
spectra of one specimen at 1e4 to 1e8 photons a frame gave 0.999, two particles 0.92."""
CORRELATION_PX = 2.0
START_BAND = 0.45, 0.55
"""Spatial frequencies [1/px] between which the start fades out: in the corners of their square hardly a photon corrects what
is wrong. The band must reach to the rim of the detector: speckles there are connected with the rest by few photons, and find
their phase only after tens of cycles where the start does not contain them."""
MAX_GAIN = 4.0
"""A contrast that differs from the starting energy's by more is none of the same specimen; that energy's is then kept."""


@dataclass(frozen=True)
class StartingEnergy:
    """The reconstruction that other energies start from: `begin` before the quick image, `transfer` after it."""

    object: Object
    """(Y, X) complex64."""
    probe: NDArray[np.complex64]
    """(M, N, N) complex64 [sqrt photons]."""
    canvas: Canvas
    dose: NDArray[np.float32]
    """(Y, X) photons on each object pixel."""
    photons: float
    """Mean sum of a frame's counts over good pixels."""
    n_positions: int
    n_cycles: int = QUICK_CYCLES
    """Cycles of the quick image."""

    def halved(self) -> "StartingEnergy":
        """The same on pixels twice as large, as the middle half of the detector shows it."""
        dose = self.dose.reshape(self.canvas.shape[0] // 2, 2, -1, 2).sum(axis=(1, 3))
        return replace(
            self, object=coarser(self.object), probe=coarser(self.probe, 2), canvas=half_canvas(self.canvas), dose=dose
        )

    def begin(self, cold: State, inputs: CycleInputs) -> State:
        """The state before the quick image: an empty object under this energy's probe.

        Raises
        ------
        WarmStartError
            This energy cannot be a start for the scan; the message says why.
        """
        probe, scan = self.probe, inputs.scan
        if not (np.isfinite(probe).all() and np.isfinite(self.object).all()):
            raise WarmStartError("the reference has diverged")
        if probe.shape[-1] != scan.n_pixels:
            raise WarmStartError(f"the reference has frames of {probe.shape[-1]} px across, this energy of {scan.n_pixels} px")
        ratio = inputs.canvas.pixel_size_m / self.canvas.pixel_size_m
        power = float(np.sum(np.abs(probe) ** 2, dtype=float)) * scan.mean_photons / self.photons
        scaled = scale_to_power(resample(probe, ratio), power)
        return replace(cold, probe=scaled, probe_momentum_buffer=np.zeros_like(scaled))

    def transfer(self, quick: State, quick_canvas: Canvas, begun: State, inputs: CycleInputs) -> State:
        """The state after the quick image, with this energy's object in the place and contrast of the other, and its probe.

        Parameters
        ----------
        quick : State
            After `n_cycles` cycles.
        quick_canvas : Canvas
            The canvas of ``inputs``, or its `half_canvas` where those cycles saw the middle half of the detector.
        begun : State
            What `begin` returned.
        inputs : CycleInputs

        Raises
        ------
        WarmStartError
        """
        scan, canvas = inputs.scan, inputs.canvas
        is_half = quick_canvas.shape != canvas.shape
        start = self.halved() if is_half else self
        seen = np.asarray(quick.object)
        dose = illumination(quick_canvas, scan.positions_m, np.asarray(quick.probe))
        field = field_of_view(dose)
        shift_m = measure_drift(start, seen, quick_canvas, field)
        if shared_share(start, quick_canvas, field, shift_m) < MIN_SHARED_FIELD:
            raise WarmStartError(
                f"the reference saw less than {MIN_SHARED_FIELD:.0%} of this energy's field, the specimen being displaced by "
                f"({shift_m[0]:.2g}, {shift_m[1]:.2g}) m: were the positions or the specimen changed?"
            )
        object_ = band_limited(moved(self.object, self.canvas, canvas, shift_m))
        like_seen = coarser(object_) if is_half else object_
        likeness = phase_correlation(like_seen, seen, dose, field)
        if likeness < MIN_CORRELATION:
            raise WarmStartError(
                f"its image must resemble the reference's, the correlation of their phases is {likeness:.2f} and not above "
                f"{MIN_CORRELATION}: did the specimen, the probe or the positions change?"
            )
        gains = contrast_gains(like_seen, seen, dose, field)
        whole_field = field_of_view(illumination(canvas, scan.positions_m, begun.probe)) if is_half else field
        object_ = with_contrast(object_, gains, whole_field)
        probe = scale_to_power(begun.probe, self._power(object_, begun.probe, scan, canvas))
        empty = np.zeros_like(object_)
        return replace(
            quick,
            object=object_,
            probe=probe,
            probe_momentum_buffer=np.zeros_like(probe),
            object_momentum_buffer=empty,
        )

    def _power(self, object_: Object, probe: NDArray[np.complex64], scan: Scan, canvas: Canvas) -> float:
        """Photons of the probe that make the model as bright as the counts, hidden photons in proportion as at this energy."""
        power = float(np.sum(np.abs(probe) ** 2, dtype=float))
        dose = illumination(canvas, scan.positions_m, probe)
        model = float(np.sum(np.abs(object_) ** 2 * dose, dtype=float)) / len(scan.positions_m)
        its_model = float(np.sum(np.abs(self.object) ** 2 * self.dose, dtype=float)) / self.n_positions
        return power * scan.mean_photons / self.photons * its_model / model


def moved(object_: Object, source: Canvas, target: Canvas, shift_m: Array) -> Object:
    """(Yt, Xt) complex64: the object on the ``target`` canvas, its specimen displaced by ``shift_m``; 1 outside ``source``."""
    rows, columns = _matrices(source, target, shift_m)
    return np.asarray((rows @ (object_ - 1) @ columns.T + 1).astype(np.complex64))


def _matrices(source: Canvas, target: Canvas, shift_m: Array) -> tuple[Array, Array]:
    """The matrices (Yt, Ys) and (Xt, Xs) of `moved`."""

    def along(k: int) -> Array:
        at_m = target.axes_m[k] - float(shift_m[k])
        return fourier_matrix((at_m - source.origin_m[k]) / source.pixel_size_m, source.shape[k])

    return along(0), along(1)


def fourier_matrix(target_px: Array, n_source: int) -> Array:
    """(T, n): interpolation of samples at 0..n-1 by their Fourier series, at the points ``target_px``; zero rows outside.

    Exact for every frequency below Nyquist, where a kernel of finite width is wrong near it. The number of samples is even.
    """
    distance = target_px[:, None] - np.arange(n_source)
    sine, cosine = (function(np.pi / n_source * distance) for function in (np.sin, np.cos))
    at_sample = np.abs(sine) < 1e-9
    kernel = np.where(at_sample, 1.0, np.sin(np.pi * distance) * cosine / (n_source * np.where(at_sample, 1.0, sine)))
    within = (target_px >= -0.5) & (target_px <= n_source - 0.5)
    return np.where(within[:, None], kernel, 0.0)


def band_limited(object_: Object) -> Object:
    """(Y, X) complex64: the object without the frequencies above `START_BAND`."""
    low, high = START_BAND
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in object_.shape), indexing="ij"))
    kept = np.cos(np.pi / 2 * np.clip((frequency - low) / (high - low), 0, 1)) ** 2
    return np.asarray((np.fft.ifft2(np.fft.fft2(object_ - 1) * kept) + 1).astype(np.complex64))


def measure_drift(start: StartingEnergy, seen: Object, canvas: Canvas, field: NDArray[np.bool_]) -> Array:
    """(2,) float64: displacement [m] of the specimen against the start, by registration of the phase over ``field``.

    Raises
    ------
    WarmStartError
        The images do not resemble each other.
    """
    weight = ndimage.gaussian_filter(ndimage.binary_erosion(field, iterations=2).astype(float), 2.0)
    phase = _phase(seen, field)
    shift_m = np.zeros(2)
    its = _phase(moved(start.object, start.canvas, canvas, shift_m), field)
    if not its.any():
        raise WarmStartError("the reference shows nothing in this energy's field: are the positions in another frame or unit?")
    shift_m = shift_m + coarse_shift(its, phase, weight) * canvas.pixel_size_m
    try:
        for _ in range(DRIFT_STEPS):
            its = _phase(moved(start.object, start.canvas, canvas, shift_m), field)
            step = FixedImage(its, weight).shift_of(phase)
            shift_m = shift_m + step * canvas.pixel_size_m
            if np.abs(step).max() < DRIFT_TOLERANCE_PX:
                break
    except RegistrationError as error:
        raise WarmStartError(f"the drift against the reference is not found: {error}") from error
    return shift_m


def _phase(object_: Object, field: NDArray[np.bool_]) -> Array:
    """(Y, X) float64 [rad]: the continuous phase over ``field``, of mean zero; zero outside."""
    return np.where(field, _logarithm(object_, field).imag, 0.0)


def shared_share(start: StartingEnergy, canvas: Canvas, field: NDArray[np.bool_], shift_m: Array) -> float:
    """Share of ``field`` (Yt, Xt) that lies in the start's field of view, displaced by ``shift_m``."""
    rows, columns = _matrices(start.canvas, canvas, shift_m)
    its = rows @ field_of_view(start.dose).astype(float) @ columns.T > 0.5
    return int(np.count_nonzero(its & field)) / max(int(np.count_nonzero(field)), 1)


def phase_correlation(ours: Object, theirs: Object, dose: NDArray[np.float32], field: NDArray[np.bool_]) -> float:
    """Correlation of the smoothed phases of two objects (Y, X) over ``field`` with weights ``dose``; 0 where one is flat."""
    smooth = [ndimage.gaussian_filter(_phase(one, field), CORRELATION_PX)[field] for one in (ours, theirs)]
    weight = dose[field].astype(float)
    covariance = np.cov(smooth, aweights=weight)
    scale = float(np.sqrt(covariance[0, 0] * covariance[1, 1]))
    return float(covariance[0, 1]) / scale if scale else 0.0


def contrast_gains(object_: Object, seen: Object, dose: NDArray[np.float32], field: NDArray[np.bool_]) -> tuple[float, float]:
    """What absorption and phase of an object (Y, X) are multiplied by to be most like those ``seen``.

    Each factor is a least-squares slope over ``field`` with weights ``dose``, a constant being free: measured so, no table of
    scattering factors is needed, whose edges are those of single atoms.
    """
    logarithm, its_logarithm = _logarithm(object_, field)[field], _logarithm(seen, field)[field]
    of_absorption = _gain(logarithm.real, its_logarithm.real, dose[field])
    of_phase = _gain(logarithm.imag, its_logarithm.imag, dose[field])
    return of_absorption, of_phase


def with_contrast(object_: Object, gains: tuple[float, float], field: NDArray[np.bool_]) -> Object:
    """(Y, X) complex64: the object with its absorption and its phase, continuous over ``field``, multiplied by ``gains``."""
    of_absorption, of_phase = gains
    logarithm = _logarithm(object_, field)
    return np.asarray(np.exp(of_absorption * logarithm.real + 1j * of_phase * logarithm.imag).astype(np.complex64))


def _logarithm(object_: Object, field: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """(Y, X) complex128: ln O, its phase continuous over ``field`` and of mean zero there."""
    phase = smooth_phase(object_, field)
    mean = float(phase[field].mean())
    outside = np.angle(object_ * np.exp(-1j * mean))
    return np.log(np.maximum(np.abs(object_), SMALLEST_AMPLITUDE)) + 1j * np.where(field, phase - mean, outside)


def _gain(ours: Array, theirs: Array, dose: NDArray[np.float32]) -> float:
    """Slope of ``theirs`` over ``ours``, by least squares with weights ``dose``; 1 where it is no contrast of one specimen."""
    root = np.sqrt(dose.astype(float))
    rows = np.stack([ours, np.ones(root.size)], axis=1) * root[:, None]
    gain = float(np.linalg.lstsq(rows, theirs * root, rcond=None)[0][0])
    return gain if 0 <= gain <= MAX_GAIN else 1.0
