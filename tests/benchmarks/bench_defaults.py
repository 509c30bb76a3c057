"""Update rules against the truth at equal time: what the defaults were chosen by, what a pilot's probe
saves, and how well positions and flux are found.

A simulated particle, 64 positions of 64 x 64, reconstructed by every rule for as long as the default takes for its cycles
(processor time of a cycle, measured beside the others, one thread)::

    python tests/benchmarks/bench_defaults.py --seeds 0 1 2 --photons 1e8 1e6
"""

import argparse
import os
import time
from dataclasses import replace
from statistics import median
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

# ruff: noqa: E402 -- the number of threads is read when the libraries are loaded
import numpy as np
from scipy import ndimage

from tasks.gauge import measure_gauge
from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.beam import fit_to_beam
from tasks.ptycho.driver import run
from tasks.ptycho.probe import ProbeSpec, initial_probe, resample, scale_to_power
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Canvas, Scan, plan_canvas
from tasks.ptycho.solver import init
from tasks.ptycho.state import State
from tasks.simulation.chemical_states import electrons_per_formula
from tasks.simulation.specimen import Simulation, SimulationOptions, simulate, transmission_at

PARTICLE = SimulationOptions(n_energies=1, n_positions_side=8, n_pixels=64, radius_m=0.35e-6)

EPIE = {"probe_update": "position", "settle": 0}
RULES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "defaults, rounded": {"subpixel": False},
    "defaults, no momentum": {"object_momentum": 0, "momentum": 0},
    "defaults, share 0.3": {"regularisation": 0.3},
    "plain ePIE (rounded)": {**EPIE, "subpixel": False},
    "ePIE": EPIE,
    "rPIE, share 0.2": {**EPIE, "regularisation": 0.2},
    "mPIE": {**EPIE, "alpha": 0.2, "beta": 0.2, "momentum_every": 16, "object_momentum": 0.9, "momentum": 0.5},
    "mPIE, settling": {
        "probe_update": "position", "alpha": 0.2, "beta": 0.2, "momentum_every": 16, "object_momentum": 0.9, "momentum": 0.5,
    },
}  # fmt: skip

STOPS = (0.0, 0.01, 0.001)
"""Values of ``stop_change``."""

STOPS_PX = {
    3e-7: [(0, 0), (0.5, 0), (1.1, 0), (1.5, 3), (2.1, 0)],
    1e-7: [(0, 0), (1.5, 0), (3, 0), (3, 3), (4.5, 0)],
}
"""Radius of a beam stop and width of its arm [px], by the width of the beam on the specimen [m]."""

Case = tuple[Simulation, Scan, Canvas, np.ndarray]


def case(seed: int, photons: float, energy: int = 0, **about: Any) -> Case:
    """One energy of a specimen, and the first guess of its probe."""
    simulation = simulate(replace(PARTICLE, seed=seed, photons=photons, **about))
    scan = simulation.scans[energy]
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    power = scan.counts.sum(where=scan.mask) / len(scan.counts)
    guess = initial_probe(simulation.probe_guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, power)
    return simulation, scan, canvas, guess


def reconstruct(one: Case, cycles: int, **chosen: Any) -> State:
    """So many cycles of a rule."""
    _, scan, canvas, probe = one
    options = ReconstructOptions(cycles=cycles, **chosen)
    return run(Reconstruction(scan, canvas, init(canvas, probe, options), cycles, options))


def object_error(one: Case, state: State) -> float:
    """Rms of ln(O / truth) in the particle's interior, after the vacuum's gauge and a common shift, relative to ln(truth)."""
    simulation, scan, canvas, _ = one
    axes = [canvas.origin_m[k] + np.arange(canvas.shape[k]) * canvas.pixel_size_m - simulation.drift_m[0, k] for k in (0, 1)]
    electrons = electrons_per_formula(simulation.specimen.states, simulation.energies_ev[:1], simulation.absorber)[0]
    truth = transmission_at(simulation.specimen, electrons, axes[0], axes[1], scan.energy_ev)
    particle = simulation.specimen.thickness(*np.meshgrid(*axes, indexing="ij")) > 0
    around = ndimage.binary_dilation(particle, iterations=9) & ~ndimage.binary_dilation(particle, iterations=2)
    ratio = (state.object / truth).astype(np.complex64)
    error = np.log(ratio * measure_gauge(ratio, around).factor(ratio.shape))
    inside = ndimage.binary_erosion(particle, iterations=3)
    slopes = np.stack([slope[inside] for slope in np.gradient(np.log(truth))], axis=1)
    split = np.concatenate([slopes.real, slopes.imag])
    values = np.concatenate([error[inside].real, error[inside].imag])
    values = values - split @ np.linalg.lstsq(split, values, rcond=None)[0]
    return float(np.linalg.norm(values) / np.linalg.norm(np.log(truth[inside])))


def seconds_a_cycle(rule: dict[str, Any]) -> float:
    """Processor time of a cycle, compiled, without what a start costs."""
    one = case(0, 1e8)
    times = []
    for _ in range(4):
        begun = time.process_time()
        reconstruct(one, 4, **rule)
        middle = time.process_time()
        reconstruct(one, 34, **rule)
        times.append((time.process_time() - middle - (middle - begun)) / 30)
    return median(times[1:])


def print_rules(seeds: list[int], photons: list[float], cycles: int) -> None:
    """The table of errors at equal time."""
    cost = {name: seconds_a_cycle(rule) for name, rule in RULES.items()}
    print(f"\n{'rule':>22} {'ms a cycle':>10} {'cycles':>7} " + " ".join(f"{f'error at {n:.0e}':>14} {'R':>8}" for n in photons))
    for name, rule in RULES.items():
        n_cycles = max(1, round(cycles * cost["defaults"] / cost[name]))
        cells = []
        for n_photons in photons:
            cases = [case(seed, n_photons) for seed in seeds]
            states = [reconstruct(one, n_cycles, **rule) for one in cases]
            error = median(object_error(one, state) for one, state in zip(cases, states, strict=True))
            cells.append(f"{error:>14.4f} {median(float(state.errors[-1]) for state in states):>8.1e}")
        print(f"{name:>22} {1e3 * cost[name]:>10.2f} {n_cycles:>7} " + " ".join(cells))


def print_pilot(pilot_cycles: int, cycles: int) -> None:
    """Cycles to the R that the optics' probe reaches in ``cycles``, from the probe of a pilot at the lowest energy."""
    grid = {"n_energies": 5}
    pilot = reconstruct(case(0, 1e8, 0, **grid), pilot_cycles)
    print(
        f"\n{'energy [eV]':>12} {'optics':>8} {'pilot':>8}   cycles to the same R, constant step, pilot of {pilot_cycles} cycles"
    )
    for energy in range(1, 5):
        simulation, scan, canvas, guess = case(0, 1e8, energy, **grid)
        ratio = scan.pixel_size_m / simulation.scans[0].pixel_size_m
        seed = scale_to_power(resample(pilot.probe, ratio), float(np.sum(np.abs(guess) ** 2)))
        errors = [reconstruct((simulation, scan, canvas, probe), cycles, settle=0).errors for probe in (guess, seed)]
        needed = [int(np.argmax(one <= errors[0][-1])) + 1 if one.min() <= errors[0][-1] else cycles for one in errors]
        print(f"{scan.energy_ev:>12.1f} {needed[0]:>8} {needed[1]:>8}")


def print_early_end(seeds: list[int], photons: list[float]) -> None:
    """Cycles of 800 after which an energy ends, and its error there."""
    print(f"\n{'photons':>8} {'specimen':>9} " + " ".join(f"{f'stop {share}':>20}" for share in STOPS))
    for n_photons in photons:
        for seed in seeds:
            one = case(seed, n_photons)
            ends = [reconstruct(one, 800, stop_change=share) for share in STOPS]
            cells = " ".join(f"{state.cycle:>10} {object_error(one, state):>9.4f}" for state in ends)
            print(f"{n_photons:>8.0e} {seed:>9} {cells}")


def print_beam_stops(cycles: int) -> None:
    """Error behind stops of several sizes, after some cycles and after four times as many."""
    print(f"\n{'beam':>8} {'stop [px]':>10} {'arm [px]':>9} {'hidden':>7} {f'{cycles} cycles':>12} {f'{4 * cycles} cycles':>12}")
    for width_m, stops in STOPS_PX.items():
        simulation, scan, canvas, guess = case(0, 1e8, probe=ProbeSpec("kb", width_m, 2e-4))
        y, x = np.indices(scan.mask.shape) - scan.n_pixels // 2
        for radius_px, arm_px in stops:
            hidden = (np.hypot(y, x) < radius_px) | ((np.abs(x) < arm_px / 2) & (y > 0))
            stopped = replace(scan, mask=scan.mask & ~hidden)
            one = simulation, stopped, canvas, fit_to_beam(guess, *stopped.mean_pattern)
            soon, late = (object_error(one, reconstruct(one, n)) for n in (cycles, 4 * cycles))
            share = scan.counts.sum(where=hidden) / scan.counts.sum()
            print(f"{width_m * 1e9:>5.0f} nm {radius_px:>10} {arm_px:>9} {share:>7.0%} {soon:>12.4f} {late:>12.4f}")


def print_corrections(cycles: int) -> None:
    """What is left of wrong positions and of a drifting flux, and what finding them costs; frames of 96 x 96."""
    rng = np.random.default_rng(0)
    simulation, scan, canvas, guess = case(0, 1e8, n_pixels=96, radius_m=0.45e-6)
    centred = scan.positions_m - scan.positions_m.mean(axis=0)
    affine = centred @ np.array([[1.0, -0.6], [0.9, 0.8]])
    errors = {"affine": 3 * affine / np.abs(affine).max(), "points": rng.uniform(-3, 3, affine.shape), "right": 0 * affine}
    print(f"\n{'positions':>12} {'rms before [px]':>16} {'after':>8}   {cycles} cycles")
    for kind, error in errors.items():
        wrong = replace(scan, positions_m=scan.positions_m + error * canvas.pixel_size_m)
        one = simulation, wrong, plan_canvas(wrong.positions_m, wrong.pixel_size_m, 96), guess
        found = reconstruct(one, cycles, position_refinement="affine" if kind == "affine" else "points").displacement_px
        rest = [np.sqrt(np.mean(np.sum((v - v.mean(axis=0)) ** 2, axis=1))) for v in (error, error + found)]
        print(f"{kind:>12} {rest[0]:>16.2f} {rest[1]:>8.2f}")
    flux = 1 + 0.1 * np.sin(np.linspace(0, 5, len(scan.counts)))
    thinned = rng.binomial(scan.counts, (flux / flux.max())[:, None, None]).astype(np.uint32)
    scale = reconstruct((simulation, replace(scan, counts=thinned), canvas, guess), cycles, frame_flux=True).scale
    print(f"{'flux':>12} {np.std(flux / flux.mean()):>15.1%} {np.std(scale**2 * flux.mean() / flux):>8.2%}")
    plain, refined = (seconds_a_cycle(rule) for rule in ({}, {"position_refinement": "points", "refine_start": 1}))
    print(f"with positions corrected as often as by default a cycle takes {refined / plain:.2f} times as long")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--photons", type=float, nargs="+", default=[1e8, 1e6])
    parser.add_argument("--cycles", type=int, default=120)
    parser.add_argument("--pilot-cycles", type=int, default=60)
    arguments = parser.parse_args()
    print_rules(arguments.seeds, arguments.photons, arguments.cycles)
    print_pilot(arguments.pilot_cycles, arguments.cycles)
    print_early_end(arguments.seeds, arguments.photons)
    print_beam_stops(arguments.cycles)
    print_corrections(arguments.cycles)
    print_corrections(3 * arguments.cycles)
