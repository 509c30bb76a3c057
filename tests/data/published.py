"""Published results of a made-up run, every array computed from known parameters of eq. 1."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from storage.results import Group, write_results
from tasks.xanes.model import PARAMETERS, eq1

EDGE_EV: Final = 5465.0
"""Tabulated edge of vanadium, K [eV]."""
SIGMA_ABSORPTION: Final = 0.002
SIGMA_PHASE: Final = 0.005
PIXEL_SIZE_M: Final = 15e-9


def energies(n_energies: int) -> NDArray[np.float64]:
    """Energies on both sides of the edge [eV]."""
    return np.linspace(5420.0, 5540.0, n_energies)


def true_parameters(shape: tuple[int, int]) -> NDArray[np.float64]:
    """(10, Y, X) parameters: the edge energy rises along x, the edge jump along y."""
    y, x = (np.linspace(0, 1, n) for n in shape)
    found = np.empty((len(PARAMETERS), *shape))
    constant = {"offset": 0.05, "edge_width": 4.0, "pre_edge_height": 0.03, "pre_edge_width": 1.5}
    constant |= {"white_line_height": 0.06, "white_line_width": 5.0}
    for i, name in enumerate(PARAMETERS):
        found[i] = constant.get(name, 0.0)
    edge = 5475.0 + 6.0 * np.broadcast_to(x, shape)
    rows = {"edge_jump": 0.12 + 0.06 * np.broadcast_to(y[:, None], shape), "edge_energy": edge}
    rows |= {"pre_edge_energy": edge - 9.0, "white_line_energy": edge + 9.0}
    for name, values in rows.items():
        found[PARAMETERS.index(name)] = values
    return found


def write_published(
    path: Path, dataset_ids: Sequence[str], shape: tuple[int, int] = (40, 50), n_energies: int = 14, **of_maps: float
) -> None:
    """Write and seal the results of one run on several datasets, which all look alike; a rim of 4 pixels is vacuum.

    ``of_maps`` are further attributes of the maps.
    """
    plane = {"y": np.arange(shape[0]) * PIXEL_SIZE_M, "x": np.arange(shape[1]) * PIXEL_SIZE_M}
    about = {"title": "made up", "group": "g", "formula": "LiVO2", "absorber": {"element": "V", "edge": "K"}}
    energy = energies(n_energies)
    parameters = true_parameters(shape)
    kept = np.zeros(shape, dtype=bool)
    kept[4:-4, 4:-4] = True
    tree = {"domains": pooled_domains(dataset_ids, energy)}
    for seed, dataset_id in enumerate(dataset_ids):
        rng = np.random.default_rng(seed)
        images = np.where(kept, eq1(energy, parameters) * (EDGE_EV / energy)[:, None, None], 0)
        phase = np.where(kept, -0.9, 0.0) + np.zeros_like(images)
        arrays: dict[str, Any] = {
            "absorption": (images + rng.normal(0, SIGMA_ABSORPTION, images.shape)).astype(np.float32),
            "phase": (phase + rng.normal(0, SIGMA_PHASE, images.shape)).astype(np.float32),
            "sigma_absorption": np.full(n_energies, SIGMA_ABSORPTION, np.float32),
            "sigma_phase": np.full(n_energies, SIGMA_PHASE, np.float32),
        }
        tree[f"{dataset_id}/spectra"] = Group({"energy": energy, **plane}, arrays, about)
        tree[f"{dataset_id}/maps"] = Group(plane, published_maps(parameters, kept), about | of_maps)
        label = np.where(kept, 1 + (np.arange(shape[1]) > shape[1] // 2), 0).astype(np.int8)
        tree[f"{dataset_id}/reconstruction"] = reconstruction(energy)
        tree[f"{dataset_id}/domains"] = Group(plane, {"label": label}, about)
    described = [{"id": one, **about, "measurement": {}, "scans": described_scans(energy, shape)} for one in dataset_ids]
    write_results(path, tree, {"run": "made up", "datasets": described})


def described_scans(energy_ev: NDArray[np.float64], shape: tuple[int, int]) -> list[dict[str, Any]]:
    """What results say of the scans of a dataset."""
    canvas = {"shape": shape, "pixel_size_m": PIXEL_SIZE_M, "origin_m": (0.0, 0.0)}
    about = {"n_positions": 1, "n_pixels": 8, "sha256": "", "canvas": canvas}
    return [{"name": f"s{number}", "energy_ev": one, **about} for number, one in enumerate(energy_ev.tolist())]


def pooled_domains(dataset_ids: Sequence[str], energy: NDArray[np.float64]) -> Group:
    """Two domains of all datasets, with their centres and shares."""
    coords = {
        "k": np.arange(1, 13),
        "domain": np.arange(1, 3),
        "descriptor": np.array(["edge_energy", "electron_ratio"]),
        "dataset": np.array(dataset_ids),
        "group": np.array(["g"]),
        "bound": np.array(["lower", "upper"]),
    }
    shares = np.tile([0.25, 0.75], (len(dataset_ids), 1))
    arrays = {
        "inertia": np.geomspace(1, 1e-2, 12),
        "centre": np.array([[5476.5, 38.0], [5479.5, 38.0]]),
        "fraction": shares,
        "fraction_interval": np.stack([shares - 0.1, shares + 0.1]),
        "group_fraction": shares[:1],
        "mean_absorption": np.stack([0.1 + 0.1 * (energy > edge) for edge in (5476.5, 5479.5)]),
    }
    return Group(coords | {"energy": energy}, arrays, {"elbow": 4})


def reconstruction(energy: NDArray[np.float64], side: int = 8) -> Group:
    """A probe of one mode at every energy (E,) [eV], the same to a factor."""
    v, u = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    probe = np.exp(-4 * (v**2 + u**2) + 2j * u)[None, None] * np.arange(1, len(energy) + 1)[:, None, None, None]
    across = (np.arange(side) - side // 2) * PIXEL_SIZE_M
    coords = {"energy": energy, "mode": np.arange(1), "v": across, "u": across}
    sizes = np.full(len(energy), PIXEL_SIZE_M)
    return Group(coords, {"probe": probe.astype(np.complex64)}, {"probe_pixel_size_m": sizes})


def published_maps(parameters: NDArray[np.float64], kept: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Maps with errors of 5 % in densities and 0.1 in every parameter's own unit."""
    maps: dict[str, NDArray[np.floating]] = dict(zip(PARAMETERS, parameters, strict=True))
    maps["pre_edge_area"] = np.pi * maps["pre_edge_height"] * maps["pre_edge_width"]
    maps["pre_edge_ratio"] = maps["pre_edge_area"] / maps["edge_jump"]
    maps["n_absorber"] = maps["edge_jump"] * 1e21
    maps["n_electron"] = 38.0 * maps["n_absorber"]
    maps["electron_ratio"] = maps["n_electron"] / maps["n_absorber"]
    maps["residual"] = np.full(kept.shape, SIGMA_ABSORPTION)
    maps |= {
        f"{name}_sigma": 0.05 * np.abs(maps[name]) for name in ("edge_jump", "n_electron", "electron_ratio", "pre_edge_area")
    }
    maps |= {"edge_energy_sigma": np.full(kept.shape, 0.1), "pre_edge_ratio_sigma": np.full(kept.shape, 0.1)}
    shown: dict[str, NDArray[Any]] = {name: np.where(kept, values, np.nan).astype(np.float32) for name, values in maps.items()}
    return shown | {"mask": kept, "status": np.where(kept, 0, 3).astype(np.int8)}
