"""Datasets on disk: the store of scans, and how a file's scan is checked and written into it."""
