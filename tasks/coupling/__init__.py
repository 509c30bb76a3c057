"""Where the energies of one specimen meet: one gauge, one grid, and the Kramers-Kronig relation."""
