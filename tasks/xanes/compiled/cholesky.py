"""Small symmetric positive-definite systems of the fit's size, compiled without LAPACK's overhead."""

import math

import numpy as np
from numpy.typing import NDArray

from tasks.xanes.compiled.compilation import compiled
from tasks.xanes.compiled.curve import N_PARAMETERS

Array = NDArray[np.float64]


@compiled()
def factorise(matrix: Array, damping: Array, free: NDArray[np.bool_], factor: Array) -> bool:
    """Cholesky factor of ``matrix + diag(damping)`` on the free parameters, the identity on the others.

    Only lower triangles are read and written; the diagonal of ``factor`` (10, 10) holds reciprocals. False where the
    matrix is not positive definite.
    """
    for i in range(N_PARAMETERS):
        for j in range(i):
            factor[i, j] = matrix[i, j] if free[i] and free[j] else 0.0
        factor[i, i] = matrix[i, i] + damping[i] if free[i] else 1.0
    for i in range(N_PARAMETERS):
        diagonal = factor[i, i]
        for j in range(i):
            total = factor[i, j]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            total *= factor[j, j]
            factor[i, j] = total
            diagonal -= total * total
        if not diagonal > 0.0:
            return False
        factor[i, i] = 1.0 / math.sqrt(diagonal)
    return True


@compiled()
def substitute(factor: Array, x: Array) -> None:
    """Solve ``L L^T x = x`` in place for the factor of `factorise`; ``x`` is (10,)."""
    for i in range(N_PARAMETERS):
        total = x[i]
        for k in range(i):
            total -= factor[i, k] * x[k]
        x[i] = total * factor[i, i]
    for i in range(N_PARAMETERS - 1, -1, -1):
        total = x[i] * factor[i, i]
        x[i] = total
        for k in range(i):
            x[k] -= factor[i, k] * total
