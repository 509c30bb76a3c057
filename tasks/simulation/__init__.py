"""Specimens of known chemistry, what a detector would see of them, and how far maps are from that truth."""
