"""Other programs at the same frames: run by the interpreter of an environment of their own, never by ours.

``peers.py NAME FRAMES.npz`` sets up the program called NAME, says ``ready``, and then answers each number n on its input by
n cycles of ePIE: the seconds of processor time they took and the R-factor after them. What it cannot do it says on its
error output, in one line.
"""

import os
import sys
import time
import types
from collections.abc import Callable

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 -- the number of threads is read when it is loaded

Engine = tuple[Callable[[int], None], Callable[[], float]]
"""Runs n more cycles; says the R-factor."""


def r_factor(measured: np.ndarray, modelled: np.ndarray) -> float:
    """``sum (|F| - sqrt I)^2 / sum I`` of intensities (P, N, N)."""
    return float(np.sum((np.sqrt(modelled) - np.sqrt(measured)) ** 2) / np.sum(measured))


def ptylab(frames: dict[str, np.ndarray]) -> Engine:
    """PtyLab's ePIE with full steps, its monitor silent."""
    from PtyLab import Engines
    from PtyLab.ExperimentalData.ExperimentalData import ExperimentalData
    from PtyLab.Monitor.Monitor import DummyMonitor
    from PtyLab.Params.Params import Params
    from PtyLab.Reconstruction.Reconstruction import Reconstruction

    counts, probe = frames["counts"].astype(np.float32), frames["probe"]
    data = ExperimentalData("test:nodata")
    corner_px = frames["corner_px"]
    centred_px = corner_px - (corner_px.max(axis=0) + corner_px.min(axis=0)) // 2
    data.ptychogram, data.encoder = counts, centred_px * float(frames["pixel_size_m"])
    data.wavelength, data.dxd, data.zo = (float(frames[name]) for name in ("wavelength_m", "detector_pixel_size_m", "distance_m"))
    data.entrancePupilDiameter = 600e-9
    data._setData()
    parameters = Params()
    parameters.gpuSwitch = False
    state = Reconstruction(data, parameters)
    state.No += 32  # room for the last row of frames, which its own choice cuts
    state.initialObject, state.initialProbe = "ones", "circ"
    state.initializeObjectProbe()
    state.probe[...] = probe
    engine = Engines.ePIE(state, data, parameters, DummyMonitor())
    engine.betaProbe = engine.betaObject = 1.0

    def run(n_cycles: int) -> None:
        engine.numIterations = n_cycles
        engine.reconstruct()

    def misfit() -> float:
        image, lit, n = np.squeeze(state.object), np.squeeze(state.probe), counts.shape[-1]
        waves = (np.fft.fft2(image[y : y + n, x : x + n] * lit, norm="ortho") for y, x in state.positions)
        return r_factor(counts, np.stack([np.fft.fftshift(np.abs(wave) ** 2) for wave in waves]))

    return run, misfit


def ptychi(frames: dict[str, np.ndarray]) -> Engine:
    """pty-chi's ePIE, one position at a time; it displaces the probe in Fourier space, be it by nothing."""
    import torch

    torch.set_num_threads(1)
    try:
        import torchvision.transforms  # noqa: F401
    except (ImportError, RuntimeError):  # built for another torch; pty-chi only blurs with it, which ePIE does not ask for
        sys.modules["torchvision"] = types.ModuleType("torchvision")
        sys.modules["torchvision.transforms"] = types.ModuleType("torchvision.transforms")
        sys.modules["torchvision.transforms"].GaussianBlur = None
    from ptychi import api
    from ptychi.api.task import PtychographyTask

    counts, corner, probe = frames["counts"].astype(np.float32), frames["corner_px"], frames["probe"]
    n, margin = counts.shape[-1], 8
    middle = (corner.max(axis=0) + corner.min(axis=0)) // 2
    side = np.ptp(corner, axis=0) + n + 2 * margin
    options = api.EPIEOptions()
    options.data_options.wavelength_m = float(frames["wavelength_m"])
    options.object_options.pixel_size_m = float(frames["pixel_size_m"])
    options.object_options.alpha = options.probe_options.alpha = 1.0
    options.reconstructor_options.batch_size = 1
    options.reconstructor_options.num_epochs = 100_000
    options.reconstructor_options.default_device = api.Devices.CPU
    task = PtychographyTask(
        options,
        diffraction_data=counts,
        object_data=np.ones((1, *(side + side % 2)), np.complex64),
        probe_data=probe[None].astype(np.complex64),
        probe_position_y_px=(corner[:, 0] - middle[0]).astype(np.float32),
        probe_position_x_px=(corner[:, 1] - middle[1]).astype(np.float32),
    )
    measured = np.fft.ifftshift(counts, axes=(1, 2))

    def misfit() -> float:
        with torch.no_grad():
            modelled = [task.reconstructor.forward_model(torch.arange(p, p + 1))[0].cpu().numpy() for p in range(len(counts))]
        return r_factor(measured, np.stack(modelled))

    return task.run, misfit


ENGINES = {"PtyLab": ptylab, "pty-chi": ptychi}


def serve(name: str, path: str) -> None:
    """Answer numbers of cycles until the input ends; what the programs print goes to the error output."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    with np.load(path) as file:
        run, misfit = ENGINES[name](dict(file))
    answers.write("ready\n")
    for line in sys.stdin:
        begun = time.process_time()
        run(int(line))
        answers.write(f"{time.process_time() - begun} {misfit()}\n")


if __name__ == "__main__":
    serve(*sys.argv[1:])
