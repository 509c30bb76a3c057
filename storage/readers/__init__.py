"""Readers of files from outside, one module a format, each returning the same record (``record.ScanSource``).

========================  ==============================================================================================
format                    how it is recognised, and its conventions
========================  ==============================================================================================
CXI, NeXus NXcxi_ptycho   HDF5 with ``entry_1`` to ``entry_n``, one energy each. Positions (x, y, z) [m], mask 0 = good,
                          energy in J or eV (told apart by size). Frames (P, ny, nx), or in rows of a raster.
EIGER                     a folder, or a ZIP, with a master whose ``/entry/data`` holds ``data_NNNNNN``, its data files,
                          and one file of positions (``read_positions`` lists its forms); pixel mask 0 = good.
Zarr v3                   a dataset of ptyxas, or one scan of it: a folder, or a ZIP.
plain HDF5 or NPZ         arrays named ``counts``, ``positions_m`` (y, x), ``energy_ev``, ... (``measurements.plain``);
                          ``mask`` must be bool, true = good; integers with 0 = good are called ``bad_pixels``.
========================  ==============================================================================================

Every fault of a file is collected and reported at once (``fields.Fields``). Files are treated as hostile: ``containers``
audits them before a value is read.
"""
