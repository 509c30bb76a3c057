"""How far in the spokes of a real Siemens star are resolved: the defaults against ePIE as published, at equal cycles.

Run it as a script. Every other position makes two halves of the scan that share no photon; each rule reconstructs the whole
and both halves, from several seeds, and what the halves have in common says what either alone resolves: by the Fourier ring
correlation of the field, and by the correlation of the spokes on circles about the hub. ``--figure FILE`` draws it.
"""

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
    os.environ.setdefault(name, "1")

# ruff: noqa: E402 -- the number of threads is read when the libraries are loaded
import numpy as np
import star
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tasks.figures.panel import add_colour_bar, add_scale_bar, show_image, whole_view
from tasks.figures.style import PAGE_MM, draw_png, new_figure
from tasks.ptycho.resolution import frc, half_bit, resolved_period_m
from tasks.ptycho.scan import Scan, plan_canvas

RULES: dict[str, dict[str, Any]] = {"plain ePIE": star.PLAIN_EPIE, "one mode": {"probe_modes": 1}, "defaults": {}}
COLOURS = ("#D55E00", "#0072B2", "#009E73")
SIDE = star.FIELD[0].stop - star.FIELD[0].start
HANN = np.sin(np.pi * (np.arange(SIDE) + 0.5) / SIDE) ** 2
WINDOW = np.outer(HANN, HANN)
HUB = tuple(slice(at - 62, at + 62) for at in star.HUB_PX)


@dataclass(frozen=True)
class Found:
    """What a rule makes of the star, from one seed."""

    r_factor: float
    whole: star.Image
    correlation: NDArray[np.float32]
    """Fourier ring correlation of the halves over the field."""
    agreement: NDArray[np.float64]
    """Of the halves' spokes, at `star.RADII_PX`."""
    noise_rad: float
    """Standard deviation of the phase within the hub, where the specimen is flat."""


def frequencies(pixel_size_m: float) -> NDArray[np.float64]:
    """Rings of the field [1/m]."""
    return np.arange(SIDE // 2) / (SIDE * pixel_size_m)


def judge(scan: Scan, probe: star.Image, cycles: int, options: dict[str, Any]) -> Found:
    """Whole and halves by one rule."""
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    state, *parts = (star.reconstruct(part, probe, cycles, canvas, **options) for part in (scan, *star.halves(scan)))
    one, other = (star.level(part.object) for part in parts)
    other = star.put_on(other, one)
    mean = one[star.FIELD].mean()
    correlation = frc(
        1 + one[star.FIELD] - mean, 1 + other[star.FIELD] - mean, WINDOW, scan.pixel_size_m, frequencies(scan.pixel_size_m)
    )
    whole = star.level(state.object)
    y, x = np.indices(whole.shape)
    hub = np.angle(whole[np.hypot(y - star.HUB_PX[0], x - star.HUB_PX[1]) < star.FLAT_PX])
    return Found(float(state.errors[-1]), whole, correlation, star.agreement(one, other), float(hub.std()))


def median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def report(rule: str, seeds: list[Found], pixel_size_m: float) -> None:
    """Two lines a rule, medians over seeds."""
    frequency = frequencies(pixel_size_m)
    limits = half_bit(WINDOW, pixel_size_m, frequency), np.full_like(frequency, 0.5)
    halves = [median(resolved_period_m(frequency, one.correlation, limit) for one in seeds) * 1e9 for limit in limits]
    middle = median(one.correlation[(frequency > 4e6) & (frequency < 10e6)].mean() for one in seeds)
    ends = [star.spoke_period_m(star.inner_end_px(one.agreement), pixel_size_m) * 1e9 for one in seeds]
    print(
        f"{rule:>16}: R {median(one.r_factor for one in seeds):.4f}, halves agree to {halves[0]:.1f} nm (half bit), "
        f"{halves[1]:.1f} nm (0.5), FRC {middle:.3f} over 4 to 10 / um"
    )
    print(
        f"{'':>16}  spokes of the halves agree (0.5) down to a period of {median(ends):.1f} nm "
        f"({min(ends):.1f} to {max(ends):.1f}), phase in the hub {median(one.noise_rad for one in seeds) * 1e3:.0f} mrad rms"
    )


def draw(found: dict[str, Found], pixel_size_m: float) -> Figure:
    """The hub by each rule, the correlation of the halves' fields, and that of their spokes."""
    figure = new_figure(PAGE_MM, 0.64 * PAGE_MM, images=True)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    above, below = parts
    images, curves = above.subplots(1, len(found)), below.subplots(1, 2)
    limits = tuple(np.percentile(np.angle(found["defaults"].whole[HUB]), (1, 99)))
    for axes, (rule, one) in zip(images, found.items(), strict=True):
        view = whole_view(one.whole[HUB].shape, pixel_size_m)
        shown = show_image(axes, np.angle(one.whole[HUB]), pixel_size_m, view, "grey", limits)
        axes.set_title(f"{rule}, R = {one.r_factor:.4f}")
        add_scale_bar(axes)
    add_colour_bar(images[-1], shown, "phase [rad]")
    _draw_field(curves[0], found, pixel_size_m)
    _draw_spokes(curves[1], found, pixel_size_m)
    for axes, letter in zip((*images, *curves), "abcde", strict=True):
        axes.set_title(letter, loc="left", fontweight="bold")
    return figure


def _draw_field(axes: Axes, found: dict[str, Found], pixel_size_m: float) -> None:
    frequency = frequencies(pixel_size_m)
    for (rule, one), colour in zip(found.items(), COLOURS, strict=True):
        axes.plot(frequency / 1e6, one.correlation, color=colour, label=rule)
    limit = half_bit(WINDOW, pixel_size_m, frequency)
    axes.plot(frequency / 1e6, limit, color="#777777", linestyle="--", label="half bit")
    axes.set(xlabel="spatial frequency [1/µm]", ylabel="FRC of the scan's halves", ylim=(-0.1, 1.05))
    axes.set_xlim(0, frequency[-1] / 1e6)
    axes.legend(loc="upper right", borderaxespad=0)


def _draw_spokes(axes: Axes, found: dict[str, Found], pixel_size_m: float) -> None:
    period_nm = 1e9 * np.array([star.spoke_period_m(radius_px, pixel_size_m) for radius_px in star.RADII_PX])
    for (rule, one), colour in zip(found.items(), COLOURS, strict=True):
        end_nm = star.spoke_period_m(star.inner_end_px(one.agreement), pixel_size_m) * 1e9
        axes.plot(period_nm, one.agreement, color=colour, label=f"{rule}: {end_nm:.0f} nm")
    axes.axhline(0.5, color="#777777", linestyle="--")
    axes.set(xlabel="period of the spokes on a circle about the hub [nm]", ylabel="correlation of the halves' spokes")
    axes.set(xlim=(period_nm[0], 220), ylim=(-0.1, 1.05))
    axes.legend(loc="lower right", borderaxespad=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--figure", type=Path, help="PNG to write, of the first seed")
    arguments = parser.parse_args()
    if not star.STAR.is_file():
        raise SystemExit(print(f"the Siemens star is not timed: {star.STAR.name} is not in ../shared/data"))
    scan, probe = star.measured()
    found = {
        rule: [judge(scan, probe, arguments.cycles, options | {"seed": seed}) for seed in range(arguments.seeds)]
        for rule, options in RULES.items()
    }
    print(
        f"Siemens star, {len(scan.counts)} frames of {scan.n_pixels}², {arguments.cycles} cycles, "
        f"pixel {scan.pixel_size_m * 1e9:.1f} nm, medians of {arguments.seeds} seeds; periods:"
    )
    for rule, seeds in found.items():
        report(rule, seeds, scan.pixel_size_m)
    if arguments.figure:
        first = {rule: seeds[0] for rule, seeds in found.items()}
        arguments.figure.write_bytes(draw_png("Siemens star", draw, first, scan.pixel_size_m))


if __name__ == "__main__":
    main()
