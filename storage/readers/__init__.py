"""One file a format, each turning a file from outside into the same record (``readers.record.ScanSource``)."""
