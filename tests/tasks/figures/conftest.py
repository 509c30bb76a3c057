"""A study of six particles in two groups and one standard, made up of plain arrays with known values."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import erf

from tasks.areas import AreaModel
from tasks.figures.study import KramersKronig, PooledDomains, ReconstructionQuality, ReferenceSpectrum, Specimen, Study
from tasks.scattering import Absorber

ENERGY_EV = np.concatenate([np.linspace(5420, 5458, 6), np.linspace(5460, 5490, 26), np.linspace(5494, 5540, 8)])
STATES = np.array([[5474.2, 0.9, 36.0], [5475.6, 1.7, 39.5], [5477.3, 2.4, 41.0], [5479.0, 3.3, 44.5]])
NOISE = np.array([0.12, 0.07, 0.5])
PIXEL_SIZE_M = 15e-9
SHAPE = (96, 110)


def particle(rng: np.random.Generator, radius_px: float) -> NDArray[np.bool_]:
    """(Y, X) irregular blob."""
    y, x = np.indices(SHAPE) - np.array([SHAPE[0] / 2, SHAPE[1] / 2 + rng.uniform(-6, 6)])[:, None, None]
    angle = np.arctan2(y, x)
    rim = sum(rng.normal(0, 0.12 / n) * np.cos(n * angle + rng.uniform(0, 6)) for n in range(2, 7))
    return np.asarray(np.hypot(y, x) < radius_px * (1 + np.asarray(rim)))


def spectrum(edge_energy: NDArray[Any], pre_edge_ratio: NDArray[Any]) -> NDArray[Any]:
    """(E, n) eq. 1 with an edge jump of 1."""
    e = ENERGY_EV[:, None]
    edge = 0.5 * (1 + erf((e - edge_energy) / 4.0))
    pre_edge = pre_edge_ratio / (np.pi * 1.2) / (1 + ((e - edge_energy + 9) / 1.2) ** 2)
    white_line = 0.35 / (1 + ((e - edge_energy - 9) / 5.0) ** 2)
    return np.asarray(edge + pre_edge + white_line)


def make_reconstruction(rng: np.random.Generator, n_energies: int) -> ReconstructionQuality:
    frequency = np.linspace(0, 33e6, 48)
    y, x = np.indices((64, 64)) - 32
    probe = np.exp(-(y**2 + x**2) / 90.0) * np.exp(0.01j * (y**2 + x**2))
    decay = np.exp(-((frequency / 24e6) ** 4))
    cycles = np.arange(1, 301)
    return ReconstructionQuality(
        error=(0.02 + 0.4 * cycles**-0.8 * rng.uniform(0.9, 1.1, (n_energies, 1))).astype(np.float32),
        noise_error=np.full(n_energies, 0.018, np.float32),
        probe=np.broadcast_to(probe, (n_energies, 1, 64, 64)).astype(np.complex64),
        probe_pixel_size_m=np.full(n_energies, PIXEL_SIZE_M),
        frequency_per_m=frequency,
        prtf=(decay * rng.uniform(0.93, 1, (n_energies, 48))).astype(np.float32),
        frc=(decay**2 + rng.normal(0, 0.02, (n_energies, 48))).clip(-1, 1).astype(np.float32),
        half_bit=(0.22 + 0.78 / (1 + np.arange(48))).astype(np.float32),
        resolution_m=np.full(n_energies, 48e-9),
    )


def make_kramers_kronig(rng: np.random.Generator) -> KramersKronig:
    predicted = -4.0 / (1 + ((ENERGY_EV - 5478) / 8) ** 2)
    measured = predicted + rng.normal(0, 0.1, ENERGY_EV.size)
    return KramersKronig(1 + 0.2 * rng.random(ENERGY_EV.size), measured, predicted, 0.98)


def make_specimen(seed: int, group: str, shares: NDArray[Any], standard: bool = False) -> Specimen:
    """A particle whose domains have the given shares of its area."""
    rng = np.random.default_rng(seed)
    inside = particle(rng, 34)
    texture = gaussian_filter(rng.normal(size=SHAPE), 5)
    levels = np.quantile(texture[inside], np.cumsum(shares)[:-1])
    label = np.where(inside, np.digitize(texture, levels) + 1, 0).astype(np.int8)
    state = STATES[np.maximum(label, 1) - 1] + rng.normal(size=(*SHAPE, 3)) * NOISE
    jump = np.where(inside, 0.12 + 0.05 * gaussian_filter(rng.normal(size=SHAPE), 8) / 0.03, 0).clip(0.02)
    kept = inside & (jump > 0.03)
    absorption = np.zeros((ENERGY_EV.size, *SHAPE))
    absorption[:, inside] = jump[inside] * (0.4 + spectrum(state[inside, 0], state[inside, 1]))
    absorption += rng.normal(0, 1.5e-3, absorption.shape)
    phase = -4.0 * inside * jump * (1 + 0.05 * np.sin(ENERGY_EV / 9))[:, None, None]
    phase += rng.normal(0, 4e-3, phase.shape)
    return Specimen(
        name=f"ds_{seed:016x}",
        title="LiVO2" if standard else f"Particle {seed}",
        group=group,
        standard=standard,
        energy_ev=ENERGY_EV,
        pixel_size_m=PIXEL_SIZE_M,
        sample_mask=inside,
        label=None if standard else label * kept,
        absorption=absorption.astype(np.float32),
        phase=phase.astype(np.float32),
        maps={
            "edge_energy": state[..., 0].astype(np.float32),
            "pre_edge_ratio": state[..., 1].astype(np.float32),
            "electron_ratio": state[..., 2].astype(np.float32),
            "edge_jump": jump.astype(np.float32),
            "offset": (0.4 * jump).astype(np.float32),
            "mask": kept,
            "edge_energy_sigma": np.where(kept, 0.015 / jump, np.nan).astype(np.float32),
            "status": np.where(inside, np.where(kept, 0, 4), 3).astype(np.int8),
        },
        reconstruction=make_reconstruction(rng, ENERGY_EV.size),
        kramers_kronig=make_kramers_kronig(rng),
        sigma_absorption=np.full(ENERGY_EV.size, 1.5e-3),
        sigma_phase=np.full(ENERGY_EV.size, 4e-3),
    )


def mean_absorption(specimens: list[Specimen]) -> NDArray[Any]:
    """(k, E) mean spectrum of each domain over the pixels of all specimens."""
    pixels = np.concatenate([s.absorption[:, s.label > 0] for s in specimens if s.label is not None], axis=1)
    labels = np.concatenate([s.label[s.label > 0] for s in specimens if s.label is not None])
    return np.stack([pixels[:, labels == k].mean(axis=1) for k in range(1, 5)])


@pytest.fixture(scope="session")
def study() -> Study:
    """Six particles in two groups, delithiation moving domains from state 1 to state 4, and a standard."""
    pristine, charged = np.array([0.45, 0.3, 0.15, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])
    particles = [make_specimen(i + 1, "as-prepared", pristine) for i in range(3)]
    particles += [make_specimen(i + 4, "delithiated", charged) for i in range(3)]
    fraction = np.stack([pristine] * 3 + [charged] * 3)
    groups = np.stack([pristine, charged])
    references = tuple(
        ReferenceSpectrum(name, ENERGY_EV, spectrum(np.array([edge]), np.array([ratio]))[:, 0])
        for name, edge, ratio in (("V2O3", 5474.0, 0.6), ("V2O5", 5479.5, 3.4))
    )
    return Study(
        specimens=(*particles, make_specimen(7, "standards", np.array([1.0, 0, 0, 0]), standard=True)),
        domains=PooledDomains(
            inertia=1e4 * np.array([1, 0.42, 0.2, 0.08, 0.07, 0.061, 0.055, 0.05, 0.046, 0.043, 0.04, 0.038]),
            elbow=4,
            fraction=fraction,
            group_fraction=groups,
            group_interval=np.stack([groups - 0.03, groups + 0.05]),
            energy_ev=ENERGY_EV,
            mean_absorption=mean_absorption(particles),
        ),
        references=references,
        theory={"Li10/7V6/7O2": 39.7, "LiVO2": 35.0, "LiVO3": 43.1},
        model=AreaModel(Absorber("V")),
    )


@pytest.fixture(scope="session")
def pair(study: Study) -> Study:
    """One particle of each group: enough for every figure, quicker to draw."""
    assert study.domains is not None
    both = [0, 3]
    return replace(
        study,
        specimens=tuple(study.specimens[i] for i in both),
        domains=replace(study.domains, fraction=study.domains.fraction[both]),
    )
