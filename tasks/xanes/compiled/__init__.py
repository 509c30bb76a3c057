"""The fit of eq. 1 in machine code: its loop over pixels, start values, solver and curves, for numba."""
