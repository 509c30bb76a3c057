"""Ptychography of one energy: from diffraction patterns and positions to the complex object and the probe.

``scan`` has the measurement and its geometry, ``probe`` and ``beam`` the initial guess; ``propagation`` and ``constraints`` the
operators, each with its adjoint; ``cycle`` the compiled kernels; ``solver`` init, step and terminate on a ``state``; ``schedule``
the rule of each cycle; ``driver`` the loop over one or several energies, with ``coherence`` (further modes) and ``placement``
(positions and flux); ``orientation`` finds how the detector is mounted, ``resolution`` what was resolved.
"""
