"""What a cycle computes on JAX arrays: ``propagation`` to the detector, the two ``constraints``, and the compiled ``cycle``."""
