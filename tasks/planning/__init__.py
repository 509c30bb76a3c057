"""Which energies to measure: optimal design of the experiment."""
