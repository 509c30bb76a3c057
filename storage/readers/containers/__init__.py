"""Audited access to the arrays of HDF5, ZIP and Zarr containers from outside."""
