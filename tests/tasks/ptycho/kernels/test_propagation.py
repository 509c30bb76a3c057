"""Operators: energy is kept, adjoints are adjoint, displacements are what they say."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.ptycho.kernels.propagation import back_propagate, displace, displace_adjoint, far_field, shift_ramps


def wave(rng: np.random.Generator, *shape: int) -> NDArray[np.complex64]:
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)


def inner(a: Any, b: Any) -> complex:
    return complex(np.vdot(np.asarray(a, np.complex128), np.asarray(b, np.complex128)))


@pytest.mark.parametrize("n", [32, 33])
def test_far_field_keeps_photons_and_inverts(n: int) -> None:
    psi = wave(np.random.default_rng(0), 2, n, n)
    far = far_field(jnp.asarray(psi))
    assert float(jnp.sum(jnp.abs(far) ** 2)) == pytest.approx(np.sum(np.abs(psi) ** 2), rel=1e-5)
    np.testing.assert_allclose(back_propagate(far), psi, atol=1e-5)


@pytest.mark.parametrize("n", [32, 33])
def test_far_field_adjoint(n: int) -> None:
    rng = np.random.default_rng(1)
    a, b = wave(rng, n, n), wave(rng, n, n)
    assert inner(far_field(jnp.asarray(a)), b) == pytest.approx(inner(a, back_propagate(jnp.asarray(b))), rel=1e-4)


@pytest.mark.parametrize("n", [32, 33])
def test_displace_adjoint(n: int) -> None:
    rng = np.random.default_rng(2)
    ramp = jnp.asarray(shift_ramps(np.array([[0.3, -0.45]]), n)[0])
    spectrum, object_ = wave(rng, 1, n, n), wave(rng, 1, n, n)
    forward = inner(displace(jnp.asarray(spectrum), ramp), object_)
    backward = inner(spectrum, displace_adjoint(jnp.asarray(object_), ramp)) / n**2
    assert forward == pytest.approx(backward, rel=1e-4)


def test_displacement_by_whole_pixels_is_a_roll() -> None:
    object_ = wave(np.random.default_rng(3), 1, 31, 31)
    ramp = jnp.asarray(shift_ramps(np.array([[2.0, -3.0]]), 31)[0])
    moved = displace(jnp.fft.fft2(jnp.asarray(object_)), ramp)
    np.testing.assert_allclose(moved, np.roll(object_, (2, -3), axis=(1, 2)), atol=1e-5)


def test_displacement_by_a_fraction_moves_a_gaussian() -> None:
    axis = np.arange(48) - 24

    def bump(y: float, x: float) -> NDArray[np.complex64]:
        return np.exp(-((axis[:, None] - y) ** 2 + (axis[None, :] - x) ** 2) / 18).astype(np.complex64)[None]

    ramp = jnp.asarray(shift_ramps(np.array([[0.37, -0.21]]), 48)[0])
    np.testing.assert_allclose(displace(jnp.fft.fft2(bump(0, 0)), ramp), bump(0.37, -0.21), atol=1e-5)
