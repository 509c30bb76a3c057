"""What has to be done for a run, as plain data: inputs, steps, their graph, progress and limits. No Dask, no files."""
