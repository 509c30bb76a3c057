"""How a run is carried out: the run loop, what it submits to Dask (`dask`), and what workers perform."""
