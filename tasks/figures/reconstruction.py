"""How well a specimen was reconstructed: convergence, resolution (the paper's Fig. S5), probe, KK residual."""

from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogFormatterMathtext, LogLocator, NullFormatter
from numpy.typing import NDArray

from tasks.figures.panel import add_colour_bar, add_scale_bar, colour_map, legend_above, letter_panels, show_image, whole_view
from tasks.figures.study import KramersKronig, ReconstructionQuality, Specimen
from tasks.figures.style import FAINT, INK, PAGE_MM, new_figure

SMALL_ERROR: Final = 1e-3
"""R-factors that fall below this are told by powers of ten."""
_PER_UM = 1e-6
_NM = 1e9
_ROUNDING = 1e-3


def convergence(specimen: Specimen, reconstruction: ReconstructionQuality) -> Figure:
    """R-factor of every energy against the cycle, and what photon noise alone would leave.

    Dotted where a cycle saw the middle of the frames only: another sum, whose R is that of those pixels.
    """
    figure = new_figure(0.6 * PAGE_MM, 62)
    axes = figure.subplots()
    scale = _energy_scale(specimen.energy_ev)
    cycles = np.arange(1, reconstruction.error.shape[1] + 1)
    in_middle = sees_middle_only(reconstruction)
    for energy_ev, error, dotted in zip(specimen.energy_ev, reconstruction.error, in_middle, strict=True):
        axes.plot(cycles, np.where(dotted, np.nan, error), color=scale.to_rgba(energy_ev), linewidth=0.8)
        if dotted.any():
            axes.plot(cycles, np.where(dotted, error, np.nan), ":", color=scale.to_rgba(energy_ev), linewidth=0.8)
    if in_middle.any():
        axes.plot([], [], color=INK, linewidth=0.8, linestyle=":", label="middle half of frames")
    if reconstruction.noise_error is not None:
        noise = float(np.median(reconstruction.noise_error))
        axes.axhline(noise, color=INK, linewidth=0.9, linestyle="--", label="photon noise")
    if axes.get_legend_handles_labels()[0]:
        legend_above(axes)
    axes.set_yscale("log")
    is_small = bool((reconstruction.error < SMALL_ERROR).any())
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if is_small else (1, 2, 5)))
    axes.yaxis.set_major_formatter(LogFormatterMathtext() if is_small else FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(1, max(cycles[-1], 2))
    axes.set_xlabel("Cycle")
    axes.set_ylabel("R-factor")
    _explain_energies(figure, axes, specimen.energy_ev, scale)
    return figure


def sees_middle_only(reconstruction: ReconstructionQuality) -> NDArray[np.bool_]:
    """(E, C) bool: whether a cycle saw less of the frames than others of the same energy did; False after its last."""
    sides = reconstruction.frame_px
    if sides is None:
        return np.zeros(reconstruction.error.shape, bool)
    return np.asarray((sides > 0) & (sides < sides.max(axis=1, keepdims=True, initial=0)))


def _energy_scale(energy_ev: NDArray[np.float64]) -> ScalarMappable:
    span = (energy_ev[0], energy_ev[-1]) if energy_ev.size > 1 else (energy_ev[0] - 1, energy_ev[0] + 1)
    return ScalarMappable(Normalize(*span), colour_map("viridis"))


def _explain_energies(figure: Figure, axes: Any, energy_ev: NDArray[np.float64], scale: ScalarMappable) -> None:
    if energy_ev.size > 1:
        bar = figure.colorbar(scale, ax=axes, pad=0.02, aspect=30)
        bar.set_label("Energy (eV)")
        bar.outline.set_linewidth(0.5)


def resolution(specimen: Specimen, reconstruction: ReconstructionQuality) -> Figure:
    """PRTF and FRC of every energy against spatial frequency, with their thresholds."""
    curves = {"PRTF": reconstruction.prtf, "FRC": reconstruction.frc}
    drawn = {name: curve for name, curve in curves.items() if curve is not None}
    figure = new_figure(PAGE_MM if len(drawn) == 2 else 0.6 * PAGE_MM, 62)
    panels = figure.subplots(1, len(drawn), squeeze=False, sharey=True)[0]
    scale = _energy_scale(specimen.energy_ev)
    for axes, (name, curve) in zip(panels, drawn.items(), strict=True):
        frequency = np.broadcast_to(np.asarray(reconstruction.frequency_per_m) * _PER_UM, curve.shape)
        for i, (one, values) in enumerate(zip(frequency, curve, strict=True)):
            energy_ev = specimen.energy_ev[min(i, specimen.energy_ev.size - 1)]
            axes.plot(one, values, color=scale.to_rgba(energy_ev), linewidth=0.8)
        axes.set_xlim(0, float(frequency.max()))
        axes.set_ylim(min(0.0, float(np.nanmin(curve))), 1.05)
        axes.set_xlabel("Spatial frequency (µm$^{-1}$)")
        axes.set_ylabel(name)
        _add_threshold(axes, name, frequency, curve, reconstruction)
    letter_panels(panels)
    _explain_energies(figure, list(panels), specimen.energy_ev, scale)
    return figure


def _add_threshold(
    axes: Axes, name: str, frequency: NDArray[np.float64], curve: NDArray[Any], reconstruction: ReconstructionQuality
) -> None:
    resolved = reconstruction.resolution_m if name == "FRC" else reconstruction.prtf_resolution_m
    if name == "PRTF":
        axes.axhline(1 / np.e, color=INK, linewidth=0.9, linestyle="--", label="1/e")
    elif reconstruction.half_bit is not None:
        threshold = np.broadcast_to(reconstruction.half_bit, frequency.shape)[0]
        axes.plot(frequency[0], threshold, color=INK, linewidth=0.9, linestyle="--", label="half bit")
    if resolved is not None and np.isfinite(resolved).any():
        median = float(np.nanmedian(resolved))
        axes.axvline(_PER_UM / median, color=FAINT, linewidth=0.9, label=_resolution_text(median, resolved, frequency, curve))
    if axes.get_legend_handles_labels()[1]:
        legend_above(axes, ncols=1)


def _resolution_text(
    median_m: float, resolved_m: NDArray[Any], frequency_per_um: NDArray[np.float64], curve: NDArray[Any]
) -> str:
    """The median full period, and at how many energies the curve stays above its threshold up to the finest ring."""
    known = np.isfinite(curve)
    finest_per_m = np.max(np.where(known, frequency_per_um, 0.0), axis=1) / _PER_UM
    n_limited = int(np.count_nonzero(resolved_m * finest_per_m[: len(resolved_m)] <= 1 + _ROUNDING))
    text = f"full period {median_m * _NM:.0f} nm (median)"
    if n_limited == len(resolved_m):
        return f"full period {median_m * _NM:.0f} nm, limited by the pixel"
    return f"{text}; limited by the pixel at {n_limited} of {len(resolved_m)} energies" if n_limited else text


def probe(specimen: Specimen, reconstruction: ReconstructionQuality) -> Figure:
    """Amplitude and phase of the strongest probe mode at the lowest and the highest energy.

    The phase is white where the amplitude is below a hundredth of its largest value.
    """
    probes, pixel_sizes = reconstruction.probe, reconstruction.probe_pixel_size_m
    if probes is None or pixel_sizes is None:
        raise ValueError(f"{specimen.name} has no probe to draw")
    ends = [0, -1] if specimen.energy_ev.size > 1 else [0]
    figure = new_figure(PAGE_MM * len(ends) / 2, 40, images=True)
    panels = figure.subplots(1, 2 * len(ends))
    letter_panels(panels)
    strongest = max(float(np.abs(probes[i, 0]).max()) for i in ends)
    for k, i in enumerate(ends):
        amplitude = np.abs(probes[i, 0])
        angle = np.where(amplitude > 0.01 * amplitude.max(), np.angle(probes[i, 0]), np.nan)
        pixel_size_m = float(pixel_sizes[i])
        view = whole_view(amplitude.shape, pixel_size_m)
        power = np.sum(np.abs(probes[i]) ** 2, axis=(-2, -1))
        share = f", mode 1 ({100 * power[0] / power.sum():.0f} %)" if power.size > 1 else ""
        first = show_image(panels[2 * k], amplitude, pixel_size_m, view, "magma", (0, strongest))
        second = show_image(panels[2 * k + 1], angle, pixel_size_m, view, "twilight", (-np.pi, np.pi))
        panels[2 * k].set_title(f"{specimen.energy_ev[i]:.1f} eV{share}", loc="left")
        add_scale_bar(panels[2 * k])
        add_colour_bar(panels[2 * k], first, "Amplitude (count$^{1/2}$)")
        bar = add_colour_bar(panels[2 * k + 1], second, "Phase (rad)")
        bar.set_ticks([-np.pi, 0, np.pi], labels=["−π", "0", "π"])
    return figure


def kramers_kronig(specimen: Specimen, found: KramersKronig) -> Figure:
    """What the Kramers-Kronig relation says of the data before the constraint: the phase that the absorption predicts beside
    the measured one, and what is left of every pixel."""
    figure = new_figure(PAGE_MM, 62)
    left, right = figure.subplots(1, 2)
    left.plot(specimen.energy_ev, found.measured, "o", color="#0072B2", markersize=3, label="from the phase")
    left.plot(specimen.energy_ev, found.predicted, "-", color="#D55E00", label="predicted from the absorption")
    left.set_ylabel("f′ of the edge (e$^{-}$ per absorber)")
    slope: dict[str, Any] = (
        {} if found.slope is None else {"title": f"slope over all pixels {found.slope:.2f} (1 where they agree)"}
    )
    legend_above(left, **slope)
    right.plot(specimen.energy_ev, found.residual, "o-", color=INK, markersize=2.5)
    right.set_ylim(bottom=0)
    right.set_ylabel("Residual, rms (e$^{-}$ per absorber)")
    for axes in (left, right):
        axes.set_xlabel("Energy (eV)")
    letter_panels((left, right))
    return figure
