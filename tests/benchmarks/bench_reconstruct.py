"""Milliseconds a frame of the reconstruction, against its two Fourier transforms alone and against its peers.

Run it as a script. One thread each, all contestants interleaved on the same simulated frames, medians over the repeats of the
processor time (so that a busy machine counts little). PtyLab and pty-chi run in an environment of their own, which is made
where it is missing; where that cannot be, it is said. Then an object is reconstructed by every rule and program from the same
frames and probe, to show that all reach the same R-factor.
"""

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

# ruff: noqa: E402 -- the number of threads is read when the libraries are loaded
import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from scipy import ndimage

from tasks.options.reconstruct import ReconstructOptions
from tasks.ptycho.driver import run
from tasks.ptycho.kernels.cycle import gather_probe_over_cycle, prepare, update_probe_by_position
from tasks.ptycho.probe import ProbeSpec, initial_probe
from tasks.ptycho.reconstruction import Reconstruction
from tasks.ptycho.scan import Canvas, Scan, plan_canvas
from tasks.ptycho.solver import init
from tasks.units import wavelength_m

ENERGY_EV = 5465.0
PIXEL_M = 15e-9
TRANSFORMS = 40
PEERS = ("PtyLab", "pty-chi")
REQUIREMENTS = ("torch==2.13.0", "ptylab==0.3.7", "ptychi==2.2.0")
"""What the peers' environment is made of; it is none of ours."""
PEERS_HOME = Path(tempfile.gettempdir()) / "ptyxas-peers" / "venv"
SAME_R = 1.5
"""R-factors of ePIE in other programs lie within this factor: they visit positions in another order."""

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


class Peer:
    """Another program at the same frames, in a process of the environment it is installed in (`peers.py`)."""

    def __init__(self, python: Path, name: str, frames: Path) -> None:
        command = [str(python), str(Path(__file__).with_name("peers.py")), name, str(frames)]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 -- the process writes to it while it lives
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors, "text": True}
        self.process = subprocess.Popen(command, **pipes)
        self._answer()

    def run(self, n_cycles: int) -> tuple[float, float]:
        """Seconds of processor time that so many more cycles took, and R after them."""
        print(n_cycles, file=self.process.stdin, flush=True)
        seconds, r_factor = self._answer().split()
        return float(seconds), float(r_factor)

    def stop(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait(timeout=30)

    def _answer(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(timeout=30)
            self.errors.seek(0)
            raise RuntimeError((self.errors.read().strip().splitlines() or ["it said nothing"])[-1])
        return line


def peers_python(folder: Path) -> Path:
    """The interpreter of an environment with the peers, made in ``folder`` where it is not there yet.

    Raises
    ------
    subprocess.CalledProcessError
        They cannot be installed here.
    """
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        print(f"installing {', '.join(PEERS)} into {folder} ...", flush=True)
        for command in ([sys.executable, "-m", "venv", folder], [python, "-m", "pip", "install", "--quiet", *REQUIREMENTS]):
            subprocess.run(command, check=True, capture_output=True, text=True)
        (folder / ".installed").touch()
    return python


@contextlib.contextmanager
def peers(folder: Path, scan: Scan, canvas: Canvas, probe: np.ndarray) -> Iterator[dict[str, Peer]]:
    """The peers that are installed or can be, ready to run on the scan's frames; who cannot take part is said why."""
    found: dict[str, Peer] = {}
    with tempfile.TemporaryDirectory() as temporary:
        frames = Path(temporary) / "frames.npz"
        corner_px = np.rint(canvas.corners_px(scan.positions_m, scan.n_pixels)).astype(int)
        about = {"wavelength_m": wavelength_m(scan.energy_ev), "pixel_size_m": scan.pixel_size_m, "distance_m": scan.distance_m}
        np.savez(frames, counts=scan.counts, corner_px=corner_px, probe=probe, detector_pixel_size_m=75e-6, **about)
        for name in PEERS:
            try:
                peer = Peer(peers_python(folder), name, frames)
                peer.run(1)
                found[name] = peer
            except (subprocess.CalledProcessError, RuntimeError, OSError) as error:
                reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
                print(f"{name}: not timed: {reason}")
        try:
            yield found
        finally:
            for peer in found.values():
                peer.stop()


def processor_time(run: Callable[[], object]) -> Callable[[], float]:
    """What times one call of ``run``."""

    def timed() -> float:
        begun = time.process_time()
        run()
        return time.process_time() - begun

    return timed


def time_interleaved(cases: dict[str, tuple[Callable[[], float], int]], repeats: int) -> dict[str, float]:
    """Median milliseconds of each case, one of each in turn; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(repeats + 1):
        for name, (timed, count) in cases.items():
            taken = timed() / count
            if number:
                seconds[name].append(taken)
    return {name: 1e3 * median(values) for name, values in seconds.items()}


def print_times(side: int, repeats: int, folder: Path) -> None:
    """The table of milliseconds a frame, and the ratios that are promised."""
    print(f"\n{'frame':>10} {'contestant':>12} {'ms a frame':>11} {'against its FFTs':>17}")
    for n in (128, 256):
        own = {**transforms(n), **ours(n, side)}
        cases = {name: (processor_time(run), count) for name, (run, count) in own.items()}
        with peers(folder, *measurement(n, side)) as others:
            cases |= {name: (lambda peer=peer: peer.run(1)[0], side**2) for name, peer in others.items()}
            times = time_interleaved(cases, repeats)
        fastest = min(value for name, value in times.items() if name.startswith("FFT"))
        for name, value in times.items():
            print(f"{n:>6} px² {name:>12} {value:>11.3f} {value / fastest:>17.2f}")
        print(
            f"{n:>6} px²: rounded takes {times['rounded'] / fastest:.2f} times its FFTs (2 at most), "
            f"sub-pixel {times['sub-pixel'] / times['rounded']:.2f} times rounded (1.5 at most)"
        )
        for name in others:
            print(f"{n:>6} px²: rounded takes {times['rounded'] / times[name]:.3f} of {name}'s time")


def structured_scan() -> tuple[Scan, Canvas, np.ndarray]:
    """Frames at whole pixels of a smooth object, so that no engine's rounding costs it anything, and a near probe."""
    n, rng = 64, np.random.default_rng(3)
    raster = np.stack(np.meshgrid(np.arange(10), np.arange(10), indexing="ij"), axis=-1).reshape(-1, 2) * 5
    positions = (raster + rng.integers(-1, 2, raster.shape)) * PIXEL_M
    distance_m = PIXEL_M * n * 75e-6 / wavelength_m(ENERGY_EV)
    canvas = plan_canvas(positions, PIXEL_M, n)
    smooth = ndimage.gaussian_filter(rng.normal(size=(2, *canvas.shape)), (0, 3, 3)) * 6
    image = np.exp(-0.2 * np.abs(smooth[0]) + 0.6j * smooth[1])
    true, guess = (initial_probe(ProbeSpec("gaussian", width), ENERGY_EV, PIXEL_M, n, 1e7) for width in (200e-9, 220e-9))
    corners = np.rint(canvas.corners_px(positions, n)).astype(int)
    waves = [np.fft.fft2(image[y : y + n, x : x + n] * true[0], norm="ortho") for y, x in corners]
    counts = rng.poisson(np.fft.fftshift(np.abs(waves) ** 2, axes=(1, 2))).astype(np.uint32)
    return Scan(counts, positions, np.ones((n, n), bool), ENERGY_EV, distance_m, 75e-6), canvas, guess


def print_errors(cycles: int, folder: Path) -> None:
    """R after the same cycles on the same simulated frames, by every rule and every peer."""
    scan, canvas, probe = structured_scan()
    rules = {
        "defaults": {},
        "by position": {"probe_update": "position"},
        "plain ePIE": {"probe_update": "position", "settle": 0, "subpixel": False},
    }
    print(f"\n{'rule':>12} {'R after ' + str(cycles) + ' cycles':>20}")
    found = {}
    for name, chosen in rules.items():
        options = ReconstructOptions(cycles=cycles, **chosen)
        found[name] = float(run(Reconstruction(scan, canvas, init(canvas, probe, options), cycles, options)).errors[-1])
    with peers(folder, scan, canvas, probe) as others:
        found |= {name: peer.run(cycles)[1] for name, peer in others.items()}
    for name, r_factor in found.items():
        print(f"{name:>12} {r_factor:>20.3e}")
    for name in others:
        ratio = found[name] / found["plain ePIE"]
        verdict = "the same" if 1 / SAME_R < ratio < SAME_R else f"NOT the same (within a factor {SAME_R})"
        print(f"{name} reaches {ratio:.2f} of plain ePIE's R: {verdict}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", type=int, default=17, help="positions along each side of the raster")
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--peers", type=Path, default=PEERS_HOME, help="the peers' environment")
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax", "scipy", "numpy"))
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}; one thread, {arguments.side**2} positions")
    print(f"peers: {', '.join(REQUIREMENTS)}")
    print_times(arguments.side, arguments.repeats, arguments.peers)
    print_errors(arguments.cycles, arguments.peers)
