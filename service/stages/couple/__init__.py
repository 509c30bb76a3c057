"""Coupling of the energies between two rounds, or after the last: one step where little is coupled, else steps of parts.

`split` adds the parts to a graph. What concerns one energy (`energies`) and what concerns a tile of rows (`tiles`) runs on all
workers; between these, numbers and images that are sums over energies are exchanged in short steps (`exchange`).
"""
