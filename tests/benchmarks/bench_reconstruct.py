"""Milliseconds a frame of the reconstruction, against its two Fourier transforms alone and against its peers.

Run it as a script. One thread, all contestants interleaved in one process on the same simulated frames, medians over the
repeats of the processor time (so that a busy machine does not count). PtyLab takes part where it is installed. Then a
specimen is reconstructed by each of our rules, to show what R-factor they reach.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Callable
from statistics import median

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

# ruff: noqa: E402 -- the number of threads is read when the libraries are loaded
import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

from tasks.options import ReconstructOptions
from tasks.ptycho.cycle import gather_probe_over_cycle, prepare, update_probe_by_position
from tasks.ptycho.engine import run_cycles, start
from tasks.ptycho.probe import ProbeSpec, initial_probe
from tasks.ptycho.scan import Canvas, Scan, plan_canvas
from tasks.simulate import SimulationOptions, simulate
from tasks.units import wavelength_m

ENERGY_EV = 5465.0
PIXEL_M = 15e-9
TRANSFORMS = 40

Case = tuple[Callable[[], object], int]
"""What to time, and how many frames (or pairs of transforms) it does."""


@jax.jit
def transform_there_and_back(wave: jax.Array) -> jax.Array:
    """``TRANSFORMS`` pairs of Fourier transforms, one after the other."""
    return jax.lax.scan(lambda one, _: (jnp.fft.ifft2(jnp.fft.fft2(one)), None), wave, length=TRANSFORMS)[0]


def transforms(n: int) -> dict[str, Case]:
    """The two transforms of a frame, by every library there is."""
    wave = np.exp(1j * np.arange(n * n, dtype=np.float32).reshape(n, n)).astype(np.complex64)
    on_device = jnp.asarray(wave)

    def by_scipy() -> None:
        for _ in range(TRANSFORMS):
            scipy.fft.ifft2(scipy.fft.fft2(wave), overwrite_x=True)

    cases: dict[str, Case] = {
        "FFT jax": (lambda: transform_there_and_back(on_device).block_until_ready(), TRANSFORMS),
        "FFT scipy": (by_scipy, TRANSFORMS),
    }
    if importlib.util.find_spec("pyfftw"):
        cases["FFT pyfftw"] = (by_fftw(wave), TRANSFORMS)
    return cases


def by_fftw(wave: np.ndarray) -> Callable[[], None]:
    """The same with plans that FFTW has measured."""
    import pyfftw

    a, b = pyfftw.empty_aligned(wave.shape, "complex64"), pyfftw.empty_aligned(wave.shape, "complex64")
    there, back = (
        pyfftw.FFTW(*ends, axes=(0, 1), direction=direction, flags=("FFTW_MEASURE",), threads=1)
        for ends, direction in (((a, b), "FFTW_FORWARD"), ((b, a), "FFTW_BACKWARD"))
    )
    a[:] = wave

    def run() -> None:
        for _ in range(TRANSFORMS):
            there()
            back()

    return run


def measurement(n: int, side: int) -> tuple[Scan, Canvas, np.ndarray]:
    """A jittered raster of ``side**2`` frames of flat noise: what is counted does not matter to the time."""
    rng = np.random.default_rng(0)
    raster = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    positions = raster * 150e-9 + rng.normal(0, 10e-9, raster.shape)
    distance_m = PIXEL_M * n * 75e-6 / wavelength_m(ENERGY_EV)
    counts = rng.poisson(20, (side**2, n, n)).astype(np.uint16)
    scan = Scan(counts, positions, np.ones((n, n), bool), ENERGY_EV, distance_m, 75e-6)
    probe = initial_probe(ProbeSpec("gaussian", 300e-9), ENERGY_EV, PIXEL_M, n, 20.0 * n * n)
    return scan, plan_canvas(positions, scan.pixel_size_m, n), probe


def ours(n: int, side: int) -> dict[str, Case]:
    """One cycle of each rule."""
    scan, canvas, probe = measurement(n, side)
    order = jnp.asarray(np.random.default_rng(1).permutation(len(scan.counts)))
    image = np.ones(canvas.shape, np.complex64)
    rounded, between = (prepare(scan, canvas, subpixel)[0] for subpixel in (False, True))

    def gathered(frames):
        return lambda: gather_probe_over_cycle(jnp.array(image), jnp.array(probe), frames, order, 1.0)[0].block_until_ready()

    def by_position():
        return update_probe_by_position(jnp.array(image), jnp.array(probe), between, order, 1.0, 1.0)[0].block_until_ready()

    return {
        "rounded": (gathered(rounded), len(order)),
        "sub-pixel": (gathered(between), len(order)),
        "by position": (by_position, len(order)),
    }


def ptylab(n: int, side: int) -> dict[str, Case]:
    """One iteration of PtyLab's ePIE on the same frames (rounded positions, as it does), where it is installed."""
    if not importlib.util.find_spec("PtyLab"):
        return {}
    from PtyLab import Engines
    from PtyLab.ExperimentalData.ExperimentalData import ExperimentalData
    from PtyLab.Monitor.Monitor import DummyMonitor
    from PtyLab.Params.Params import Params
    from PtyLab.Reconstruction.Reconstruction import Reconstruction

    scan, _, _ = measurement(n, side)
    data = ExperimentalData("test:nodata")
    data.ptychogram, data.encoder = scan.counts.astype(np.float32), scan.positions_m
    data.wavelength, data.dxd, data.zo = wavelength_m(ENERGY_EV), scan.detector_pixel_size_m, scan.distance_m
    data.entrancePupilDiameter = 600e-9
    data._setData()
    parameters = Params()
    parameters.gpuSwitch = False
    reconstruction = Reconstruction(data, parameters)
    reconstruction.initialObject, reconstruction.initialProbe = "ones", "circ"
    reconstruction.initializeObjectProbe()
    engine = Engines.ePIE(reconstruction, data, parameters, DummyMonitor())
    engine.numIterations = 1

    def run() -> None:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            engine.reconstruct()

    return {"PtyLab ePIE": (run, len(scan.counts))}


def time_interleaved(cases: dict[str, Case], repeats: int) -> dict[str, float]:
    """Median milliseconds of each case, one of each in turn; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(repeats + 1):
        for name, (run, count) in cases.items():
            begun = time.process_time()
            run()
            if number:
                seconds[name].append((time.process_time() - begun) / count)
    return {name: 1e3 * median(values) for name, values in seconds.items()}


def print_times(side: int, repeats: int) -> None:
    """The table of milliseconds a frame."""
    print(f"\n{'frame':>10} {'contestant':>12} {'ms a frame':>11} {'against its FFTs':>17}")
    for n in (128, 256):
        times = time_interleaved({**transforms(n), **ours(n, side), **ptylab(n, side)}, repeats)
        fastest = min(value for name, value in times.items() if name.startswith("FFT"))
        for name, value in times.items():
            print(f"{n:>6} px² {name:>12} {value:>11.3f} {value / fastest:>17.2f}")
        print(f"{n:>6} px² {'sub-pixel against rounded':>33} {times['sub-pixel'] / times['rounded']:>8.2f}")


def print_errors(cycles: int) -> None:
    """R after the same cycles on the same simulated frames, by every rule."""
    simulation = simulate(SimulationOptions(n_energies=1, n_positions_side=10, n_pixels=64, n_states=1, n_grains=1))
    scan = simulation.scans[0]
    canvas = plan_canvas(scan.positions_m, scan.pixel_size_m, scan.n_pixels)
    power = scan.counts.sum(where=scan.mask) / len(scan.counts)
    probe = initial_probe(simulation.probe_guess, scan.energy_ev, scan.pixel_size_m, scan.n_pixels, power)
    rules = {
        "defaults": {},
        "rounded": {"subpixel": False},
        "by position": {"probe_update": "position"},
        "plain ePIE": {"probe_update": "position", "settle": 0, "subpixel": False},
    }
    print(f"\n{'rule':>12} {'R after ' + str(cycles) + ' cycles':>20}")
    for name, chosen in rules.items():
        options = ReconstructOptions(cycles=cycles, **chosen)
        state = run_cycles(scan, canvas, start(canvas, probe, options), cycles, options)
        print(f"{name:>12} {state.errors[-1]:>20.2e}")


def print_peers() -> None:
    """Who could not take part, and why."""
    if not importlib.util.find_spec("PtyLab"):
        print("PtyLab: not installed, not timed")
    print("pty-chi: not timed, there is no case for it yet; no peer's R-factor is checked yet")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", type=int, default=17, help="positions along each side of the raster")
    parser.add_argument("--cycles", type=int, default=100)
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "scipy", "numpy"))
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}; one thread, {arguments.side**2} positions")
    print_times(arguments.side, arguments.repeats)
    print_errors(arguments.cycles)
    print_peers()
