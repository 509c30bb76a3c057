"""Coupling of the energies between two rounds, or after the last: one step where little is coupled, else steps of parts.

Modules import one way. `step` couples in one step, and `split` adds the parts to a graph. Parts of single energies and of tiles
of rows run on all workers; between them, short steps exchange sums over energies. `alignment` holds the parts up to the specimen
on one grid, `projection` those up to the Kramers-Kronig pairs, and `outcome` the last.
"""
