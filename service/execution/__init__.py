"""How a run is carried out: the run loop, the Dask cluster and what its workers perform."""
