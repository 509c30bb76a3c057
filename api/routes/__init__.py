"""One file of routes a noun; each exposes a ``router``."""
