"""Readers of files from outside, one module a format, each returning the same record.

Measurements become ``record.ScanSource``, images ``images.ImageSource``. Tables ``format.READERS`` and ``image_format.READERS``
name all formats and how they are recognised; docs/measurements.md and docs/images.md say what each takes from where.

Every fault of a file is collected and reported at once (``fields.Fields``). Files are treated as hostile: ``containers``
audits them before a value is read.
"""
