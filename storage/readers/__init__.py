"""One file a format, each turning a file from outside into the same record (``record.ScanSource``).

========================  ==============================================================================================
what                      how it is known, and what is particular
========================  ==============================================================================================
CXI, NeXus NXcxi_ptycho   HDF5 with ``entry_1`` to ``entry_n``, one energy each. Positions (x, y, z) [m], mask 0 = good,
                          energy in J or eV (told apart by size). Frames (P, ny, nx), or in rows of a raster.
EIGER                     a folder, or a ZIP, with a master whose ``/entry/data`` holds ``data_NNNNNN``, its data files,
                          and one file of positions (``eiger.read_positions`` lists its forms); pixel mask 0 = good.
Zarr v3                   a dataset of this house, or one scan of it: a folder, or a ZIP.
plain HDF5 or NPZ         arrays named ``counts``, ``positions_m`` (y, x), ``energy_ev``, ... (``plain``); ``mask`` must
                          be bool, true = good, and integers with 0 = good are called ``bad_pixels``.
========================  ==============================================================================================

Frames are cropped square about the beam centre, where the file states one (``framing``), then turned by the dataset's
``orientation``: the sum of 1 (flip rows), 2 (flip columns) and 4 (then transpose). What is wrong is collected, never
raised one by one (``fields.Fields``), and files are taken to be hostile (``hdf5``, ``archive``, ``zarrs``).
"""
