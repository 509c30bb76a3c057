"""How energies scale over workers: the same batch of reconstructions by one worker and by two, in turn.

Run it as a script. The workers are those of the service, in processes of their own; wall-clock time, because that is what is
shared, so run it on a machine with two idle cores. Orders alternate (one, two, two, one, ...).
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from distributed import Client

from service.execution.dask.embedded import start_embedded
from service.settings import Settings

N_ENERGIES = 8


def reconstruct_one(n_cycles: int, n_side: int = 12, n: int = 128) -> float:
    """R of one made-up energy after some cycles of its own ``n_side**2`` frames of ``n`` x ``n`` pixels."""
    import numpy as np

    from tasks.options.reconstruct import ReconstructOptions
    from tasks.ptycho.driver import run
    from tasks.ptycho.probe import ProbeSpec, initial_probe
    from tasks.ptycho.reconstruction import Reconstruction
    from tasks.ptycho.scan import Scan, plan_canvas
    from tasks.ptycho.solver import init
    from tasks.units import wavelength_m

    rng, pixel_m = np.random.default_rng(0), 15e-9
    raster = np.stack(np.meshgrid(np.arange(n_side), np.arange(n_side), indexing="ij"), axis=-1).reshape(-1, 2)
    positions = raster * 150e-9 + rng.normal(0, 10e-9, raster.shape)
    distance_m = pixel_m * n * 75e-6 / wavelength_m(5465.0)
    scan = Scan(rng.poisson(20, (n_side**2, n, n)).astype(np.uint16), positions, np.ones((n, n), bool), 5465.0, distance_m, 75e-6)
    canvas, options = plan_canvas(positions, scan.pixel_size_m, n), ReconstructOptions(cycles=n_cycles)
    probe = initial_probe(ProbeSpec("gaussian", 300e-9), 5465.0, pixel_m, n, 20.0 * n * n)
    return float(run(Reconstruction(scan, canvas, init(canvas, probe, options), n_cycles, options)).errors[-1])


def seconds(client: Client, workers: list[str], n_cycles: int) -> float:
    """Wall-clock time of all energies on these workers."""
    begun = time.perf_counter()
    futures = [client.submit(reconstruct_one, n_cycles, workers=workers, pure=False) for _ in range(N_ENERGIES)]
    client.gather(futures)
    return time.perf_counter() - begun


def run(repeats: int, n_cycles: int) -> None:
    """Print the times and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), workers=2, dashboard_port=0)
        with start_embedded(settings) as cluster, Client(cluster) as client:
            client.wait_for_workers(2, timeout=60)
            both = list(client.scheduler_info(n_workers=-1)["workers"])
            for address in both:
                client.submit(reconstruct_one, 2, workers=[address], pure=False).result()
            times: dict[int, list[float]] = {1: [], 2: []}
            for repeat in range(repeats):
                for count in (1, 2) if repeat % 2 == 0 else (2, 1):
                    times[count].append(seconds(client, both[:count], n_cycles))
    for count, values in times.items():
        print(f"{count} worker{'s' * (count > 1)}: {median(values):.2f} s for {N_ENERGIES} energies")
    pairs = [one / two for one, two in zip(times[1], times[2], strict=True)]
    spread = f"{min(pairs):.2f} to {max(pairs):.2f}"
    print(f"two workers against one: {median(pairs):.2f} times as fast (median of {repeats} pairs, {spread})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cycles", type=int, default=20)
    arguments = parser.parse_args()
    run(arguments.repeats, arguments.cycles)
