"""How far in the spokes of a real Siemens star are resolved: the defaults against ePIE as published, at equal cycles.

Run it as a script. Every other position makes two halves of the scan that share no photon; each rule reconstructs the whole
and both halves, and the Fourier ring correlation of the halves says what either alone resolves. ``--figure FILE`` draws it.
"""

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
    os.environ.setdefault(name, "1")

# ruff: noqa: E402 -- the number of threads is read when the libraries are loaded
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from storage.readers.format import open_scan
from tasks.figures.panel import add_colour_bar, add_scale_bar, show_image, whole_view
from tasks.figures.style import PAGE_MM, draw_png, new_figure
from tasks.options import ReconstructOptions
from tasks.ptycho.engine import run_cycles, start
from tasks.ptycho.probe import scale_to_power
from tasks.ptycho.resolution import frc, half_bit, resolved_period_m
from tasks.ptycho.scan import Scan, plan_canvas

STAR = Path(__file__).parents[3] / "shared" / "data" / "siemens_star.cxi"
FIELD = slice(110, 370), slice(100, 360)
"""The well-lit middle of the canvas, all spokes of it."""
HUB_PX = (230, 208)
SPOKES = 30
RULES = {
    "plain ePIE": {"probe_update": "position", "settle": 0, "subpixel": False, "object_momentum": 0.0},
    "defaults": {},
}


@dataclass(frozen=True)
class Found:
    """What a rule makes of the star."""

    r_factor: float
    whole: NDArray[np.complex64]
    correlation: NDArray[np.float32]
    period_m: float
    """Where the correlation crosses half a bit."""
    period_at_half_m: float
    """Where it crosses 0.5, the stricter custom."""
    noise_rad: float
    """Standard deviation of the phase within the hub, where the specimen is flat."""
    innermost_m: float
    """Period of the spokes at the radius where their harmonic still has a third of the phase's variance."""


def measured_star() -> tuple[Scan, NDArray[np.complex64]]:
    """The scan, and the probe that came with it."""
    with open_scan(STAR) as (source,):
        counts = np.asarray(source.frames[0 : source.frames.shape[0]])
        mask = np.ones(counts.shape[1:], bool) if source.mask is None else source.mask
        scan = Scan(counts, source.positions_m, mask, source.energy_ev, source.distance_m, source.detector_pixel_size_m)
        return scan, source.probe


def reconstruct(scan: Scan, canvas, probe, cycles: int, chosen: dict) -> tuple[NDArray[np.complex64], float]:
    """The object, without the ramp that no pattern shows, and R."""
    power = scan.counts.sum(dtype=float) / len(scan.counts)
    options = ReconstructOptions(cycles=cycles, **chosen)
    state = run_cycles(scan, canvas, start(canvas, scale_to_power(probe, power), options), cycles, options)
    image = state.object
    middle = image[FIELD]
    for axis in (0, 1):
        slope = np.angle(np.sum(np.take(middle, range(1, 260), axis) * np.take(middle, range(259), axis).conj()))
        image = image * np.exp(-1j * slope * np.indices(image.shape)[axis])
    return image / image[FIELD].mean(), float(state.errors[-1])


def judge(scan: Scan, canvas, probe, cycles: int, chosen: dict, frequency, window) -> Found:
    """Whole and halves by one rule."""
    whole, r_factor = reconstruct(scan, canvas, probe, cycles, chosen)
    halves = [
        reconstruct(replace(scan, counts=scan.counts[k::2], positions_m=scan.positions_m[k::2]), canvas, probe, cycles, chosen)[0]
        for k in (0, 1)
    ]
    shift, _, _ = phase_cross_correlation(halves[0][FIELD], halves[1][FIELD], upsample_factor=50, normalization=None)
    second = np.fft.ifft2(ndimage.fourier_shift(np.fft.fft2(halves[1]), shift))
    second = second * np.exp(1j * np.angle(np.vdot(second[FIELD], halves[0][FIELD])))
    mean = halves[0][FIELD].mean()
    curve = frc(1 + halves[0][FIELD] - mean, 1 + second[FIELD] - mean, window, canvas.pixel_size_m, frequency)
    thresholds = half_bit(window, canvas.pixel_size_m, frequency), np.full_like(frequency, 0.5)
    period_m, period_at_half_m = (resolved_period_m(frequency, curve, threshold) for threshold in thresholds)
    y, x = np.indices(whole.shape)
    hub = np.angle(whole[np.hypot(y - HUB_PX[0], x - HUB_PX[1]) < 20])
    innermost_m = innermost_period_m(whole, canvas.pixel_size_m)
    return Found(r_factor, whole, curve, period_m, period_at_half_m, float(hub.std()), innermost_m)


def innermost_period_m(image: NDArray[np.complex64], pixel_size_m: float) -> float:
    """Period of the spokes where, coming from outside, their harmonic falls below a third of the phase's variance."""
    phase = np.angle(image)
    angle = np.linspace(0, 2 * np.pi, 1440, endpoint=False)
    radius = 100.0
    while radius > 5:
        around = ndimage.map_coordinates(phase, [HUB_PX[0] + radius * np.sin(angle), HUB_PX[1] + radius * np.cos(angle)], order=1)
        power = np.abs(np.fft.rfft(around - around.mean())) ** 2
        if power[SPOKES] < power.sum() / 3:
            break
        radius -= 0.5
    return 2 * np.pi * radius * pixel_size_m / SPOKES


def draw(found: dict[str, Found], frequency, threshold, pixel_size_m: float) -> Figure:
    """The hub by each rule, and the correlation of its halves."""
    figure = new_figure(PAGE_MM, 0.33 * PAGE_MM, images=True)
    panels = figure.subplots(1, 3, width_ratios=(1, 1, 1))
    y, x = HUB_PX
    hub = slice(y - 62, y + 62), slice(x - 62, x + 62)
    phases = {rule: np.angle(one.whole[hub] / one.whole[FIELD].mean()) for rule, one in found.items()}
    limits = tuple(np.percentile(phases["defaults"], (1, 99)))
    for axes, (rule, one) in zip(panels[:2], found.items(), strict=True):
        shown = show_image(axes, phases[rule], pixel_size_m, whole_view(phases[rule].shape, pixel_size_m), "grey", limits)
        axes.set_title(f"{rule}, R = {one.r_factor:.4f}")
        add_scale_bar(axes)
    add_colour_bar(panels[1], shown, "phase [rad]")
    axes = panels[2]
    for (rule, one), colour in zip(found.items(), ("#D55E00", "#0072B2"), strict=True):
        axes.plot(frequency / 1e6, one.correlation, color=colour, label=f"{rule}: {one.period_m * 1e9:.0f} nm")
    axes.plot(frequency / 1e6, threshold, color="#777777", linestyle="--", label="half bit")
    axes.set(xlabel="spatial frequency [1/µm]", ylabel="FRC of the scan's halves", ylim=(-0.1, 1.05))
    axes.set_xlim(0, frequency[-1] / 1e6)
    axes.set_box_aspect(1)
    axes.legend(loc="upper right", borderaxespad=0)
    for axes, letter in zip(panels, "abc", strict=True):
        axes.set_title(letter, loc="left", fontweight="bold")
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=60)
    parser.add_argument("--figure", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    if not STAR.is_file():
        raise SystemExit(print(f"the Siemens star is not timed: {STAR.name} is not in ../shared/data"))
    scan, probe = measured_star()
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    side = FIELD[0].stop - FIELD[0].start
    hann = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    window = np.outer(hann, hann)
    frequency = np.arange(side // 2) / (side * canvas.pixel_size_m)
    found = {rule: judge(scan, canvas, probe, arguments.cycles, chosen, frequency, window) for rule, chosen in RULES.items()}
    pixel_nm, n = canvas.pixel_size_m * 1e9, scan.n_pixels
    print(f"Siemens star, {len(scan.counts)} frames of {n}², {arguments.cycles} cycles, pixel {pixel_nm:.1f} nm; periods:")
    for rule, one in found.items():
        halves, spokes, noise = one.period_m * 1e9, one.innermost_m * 1e9, one.noise_rad * 1e3
        middle = float(one.correlation[(frequency > 4e6) & (frequency < 10e6)].mean())
        print(f"{rule:>12}: R {one.r_factor:.4f}, halves agree to {halves:.1f} nm (half bit), "
              f"{one.period_at_half_m * 1e9:.1f} nm (0.5), FRC {middle:.3f} over 4 to 10 / um")
        print(f"{'':>12}  spokes told apart down to {spokes:.1f} nm, phase in the hub {noise:.0f} mrad rms")
    if arguments.figure:
        threshold = half_bit(window, canvas.pixel_size_m, frequency)
        arguments.figure.write_bytes(draw_png("Siemens star", draw, found, frequency, threshold, canvas.pixel_size_m))
