"""Ptychography of one energy: from diffraction patterns and positions to the complex object and the probe.

``scan`` has the measurement and its geometry, ``probe`` and ``beam`` the initial guess; ``kernels`` the operators, each with
its adjoint, and the compiled cycle; ``solver`` init, step and terminate on a ``state``; ``reconstruction`` the decisions between
cycles, with ``schedule`` (the rule of each), ``half_detector`` (slow waves at a quarter of the cost), ``coherence`` (further
modes), ``placement`` (positions and flux) and ``convergence`` (the end); ``driver`` the loop over one or several energies;
``orientation`` finds how the detector is mounted, ``resolution`` what was resolved.
"""
