"""Generators of the documentation: what they write follows from the code."""
