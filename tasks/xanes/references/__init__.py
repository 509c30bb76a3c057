"""Spectra of known compounds: read from XDI, normalised, mixed to explain pixels, and a foil's edge."""
