"""Standard errors that hold: what fits say of themselves, mended by what vacuum, neighbouring pixels and borders show."""
