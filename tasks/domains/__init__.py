"""Domains: pixels of alike chemistry, grouped by k-means over all datasets of a run."""
