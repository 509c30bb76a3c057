"""One module a file format of diffraction measurements, each returning ``record.ScanSource``."""
