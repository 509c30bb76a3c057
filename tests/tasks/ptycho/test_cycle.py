"""The resting probe's displaced copies: as good as the exact displacement, and gathered by their adjoint."""

import jax.numpy as jnp
import numpy as np
import pytest

from tasks.ptycho.cycle import FRACTIONS_PER_PX, displaced_copies, gather_copies
from tasks.ptycho.probe import ProbeSpec, initial_probe
from tasks.ptycho.propagation import displace, shift_ramps


@pytest.mark.parametrize(
    ("spec", "tolerance"), [(ProbeSpec("kb", 300e-9), 1e-3), (ProbeSpec("zone_plate", outer_zone_m=60e-9, defocus_m=2e-4), 0.02)]
)
def test_copies_with_gradient_reach_any_fraction(spec, tolerance):
    probe = jnp.asarray(initial_probe(spec, 5465.0, 15e-9, 64, 1.0))
    fraction = np.array([0.25 + 0.12, -0.5 + 0.11])
    copy = np.rint(fraction * FRACTIONS_PER_PX) / FRACTIONS_PER_PX
    at, along_y, along_x = displaced_copies(probe, jnp.asarray(shift_ramps(copy[None], 64)))
    rest = fraction - copy
    reached = at[0] + rest[0] * along_y[0] + rest[1] * along_x[0]
    exact = displace(jnp.fft.fft2(probe), jnp.asarray(shift_ramps(fraction[None], 64)[0]))
    assert float(jnp.linalg.norm(reached - exact) / jnp.linalg.norm(exact)) < tolerance


def test_gathering_is_the_adjoint_of_copying():
    rng = np.random.default_rng(0)
    ramps = jnp.asarray(shift_ramps(rng.uniform(-0.5, 0.5, (5, 2)), 33))
    probe = (rng.normal(size=(2, 33, 33)) + 1j * rng.normal(size=(2, 33, 33))).astype(np.complex64)
    images = (rng.normal(size=(5, 2, 33, 33)) + 1j * rng.normal(size=(5, 2, 33, 33))).astype(np.complex64)
    forward = np.vdot(np.asarray(displaced_copies(jnp.asarray(probe), ramps)[0]), images)
    backward = np.vdot(probe, np.asarray(gather_copies(jnp.asarray(images), ramps)))
    assert forward == pytest.approx(backward, rel=1e-4)
