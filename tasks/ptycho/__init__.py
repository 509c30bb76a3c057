"""Ptychography of one energy: from diffraction patterns and positions to the complex object and the probe.

``propagation`` has the operators (each with its adjoint), ``scan`` the geometry, ``probe`` the first guess,
``constraints`` the two projections of ePIE, ``engine`` the loop, ``resolution`` what was resolved.
"""
